"""Owns the update: of the rows of a table that a step touched, and of whole weights in one pass.

A step looks up some thousand rows of an embedding of millions of numbers. Adam moves the others
too, by what momentum is left, and so reads and writes the table and its state in every step, which
for a small network costs more than its gradients do. Moving the touched rows alone is what
TensorFlow Addons called LazyAdam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = ["RowwiseAdamW", "Update"]


@keras.saving.register_keras_serializable(package="hvdcore")
class RowwiseAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW that also updates rows by themselves, for `Update`; otherwise Keras's own.

    There a row that no sample of a step uses keeps its weights and its moments to the bit, weight
    decay included. A row that every step uses moves as under `keras.optimizers.AdamW`. Clipping is
    the caller's.
    """

    def update_rows(self, gradient: tf.IndexedSlices, variable: keras.Variable) -> None:
        """One step of the rows of `gradient`; `apply` counts the steps, so call this before it.

        Args:
            gradient: each row once, values [R, ...].
            variable: one that the optimizer was built with, [N, ...].
        """
        rows, index = gradient.indices, self._get_variable_index(variable)
        slots = (self._momentums[index].value, self._velocities[index].value)
        mean, square = (tf.gather(slot, rows) for slot in slots)
        weights = tf.gather(variable.value, rows)
        step = tf.cast(self.iterations + 1, weights.dtype)
        rate = tf.cast(self.learning_rate, weights.dtype)
        mean += (gradient.values - mean) * (1.0 - self.beta_1)
        square += (tf.square(gradient.values) - square) * (1.0 - self.beta_2)
        if self.weight_decay and self._use_weight_decay(variable):
            weights *= 1.0 - self.weight_decay * rate
        correction = tf.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)
        weights -= rate * correction * mean / (tf.sqrt(square) + self.epsilon)
        changed = (mean, square, weights)
        for table, values in zip((*slots, variable.value), changed, strict=True):
            table.scatter_update(tf.IndexedSlices(values, rows))


class Update:
    """Applies summed gradients: tables by their rows, the rest compiled by XLA.

    XLA makes one pass over the weights of some ten. It has no place for rows, whose number is
    another in each step.

    Args:
        optimizer: built. Without rows of its own (`RowwiseAdamW`) it gets whole tables.
        variables: one for each gradient.
        afterwards: compiled with the rest and run after it; called with what `__call__` is given.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        variables: Sequence[keras.Variable],
        afterwards: Callable[..., None] | None = None,
    ) -> None:
        self._optimizer, self._variables = optimizer, list(variables)
        self._afterwards = afterwards
        self._update_rows = tf.function(self._rows, autograph=False, reduce_retracing=True)
        self._update_whole = tf.function(self._whole, autograph=False, jit_compile=True)

    def __call__(self, gradients: Sequence[Any], *afterwards: Any) -> None:
        """One step. Of `tf.IndexedSlices` each row stands once (`GradientReduction` sees to it)."""
        by_rows = isinstance(self._optimizer, RowwiseAdamW)
        rows, whole = {}, {}
        for place, gradient in enumerate(gradients):
            if by_rows and isinstance(gradient, tf.IndexedSlices):
                rows[place] = gradient
            else:
                whole[place] = tf.convert_to_tensor(gradient)
        if rows:
            self._update_rows(rows)
        self._update_whole(whole, *afterwards)

    def _rows(self, gradients: dict[int, tf.IndexedSlices]) -> None:
        for place, gradient in gradients.items():
            self._optimizer.update_rows(gradient, self._variables[place])

    def _whole(self, gradients: dict[int, Any], *afterwards: Any) -> None:
        self._optimizer.apply(
            list(gradients.values()), [self._variables[place] for place in gradients]
        )
        if self._afterwards is not None:
            self._afterwards(*afterwards)
