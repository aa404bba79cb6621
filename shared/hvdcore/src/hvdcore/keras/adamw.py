"""AdamW that updates only the rows of an embedding that a step looked up.

A step looks up some thousand rows of an embedding of millions of numbers. Adam changes the other
rows too, by their remaining momentum, and so reads and writes the whole table and its state in
every step, which for a small network costs more than its gradients do. Without momentum
(beta_1 = 0, which is RMSProp with Adam's correction) an untouched row stays where it is, and only
its second moment decays, which can wait for the next lookup. So tables here do without momentum,
and the result is then Adam's up to rounding.

Leaving out the decay too (LazyAdam) makes the steps of rare rows several times smaller than Adam's
are over all steps together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from hvdcore.keras.internals import second_moments

__all__ = ["RowwiseAdamW", "Update"]


@keras.saving.register_keras_serializable(package="hvdcore")
class RowwiseAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW that also updates rows by themselves, for `Update`; otherwise Keras's own.

    There a table moves as under `keras.optimizers.AdamW(beta_1=0)` with whole gradients, but that a
    row which no sample of a step uses has no weight decay in it. Clipping is the caller's. A table
    whose gradient comes whole (as on a GPU, see `GradientReduction`) moves like all else, with
    momentum; let one table always get the one or the other.
    """

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the state. Beside Keras's: the step, from 1, in which a row was last updated."""
        if self.built:
            return
        super().build(variables)
        self._updated_at = [
            self.add_variable(v.shape[:1], "zeros", "int32", name=f"{v.name}_updated_at")
            for v in variables
        ]

    def update_rows(self, gradient: tf.IndexedSlices, variable: keras.Variable) -> None:
        """One step of the rows of `gradient`; `apply` counts the steps, so call this before it.

        Args:
            gradient: each row once, values [R, ...].
            variable: one that the optimizer was built with, [N, ...].
        """
        rows, values, index = gradient.indices, gradient.values, self._get_variable_index(variable)
        squares, updated_at = second_moments(self)[index].value, self._updated_at[index].value
        weights, step = tf.gather(variable.value, rows), tf.cast(self.iterations + 1, tf.int32)
        rate, beta = (tf.cast(x, values.dtype) for x in (self.learning_rate, self.beta_2))
        elapsed = tf.cast(step - tf.gather(updated_at, rows), values.dtype)
        decay = tf.reshape(beta**elapsed, [-1, *(1 for _ in variable.shape[1:])])
        square = decay * tf.gather(squares, rows) + (1.0 - beta) * tf.square(values)
        if self.weight_decay and self._use_weight_decay(variable):
            weights *= 1.0 - self.weight_decay * rate
        correction = tf.sqrt(1.0 - beta ** tf.cast(step, values.dtype))
        weights -= rate * correction * values / (tf.sqrt(square) + self.epsilon)
        steps = tf.fill(tf.shape(rows), step)
        changed = ((squares, square), (variable.value, weights), (updated_at, steps))
        for table, new in changed:
            table.scatter_update(tf.IndexedSlices(new, rows))


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
        if gradients:
            variables = [self._variables[place] for place in gradients]
            self._optimizer.apply(list(gradients.values()), variables)
        else:  # all were rows; `apply` does not count a step without gradients
            self._optimizer.iterations.assign_add(1)
        if self._afterwards is not None:
            self._afterwards(*afterwards)
