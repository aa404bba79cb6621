"""Adds up gradients on each process, so that processes communicate once in several steps.

After horovod/tensorflow/gradient_aggregation_eager.py of Horovod 0.28.1, copyright 2020 Uber
Technologies, Inc., Apache License 2.0. Here a gradient may be None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from horovod.tensorflow.gradients import divided, key_of, reduce_shared
from horovod.tensorflow.mpi_ops import ProcessSet, global_process_set
from horovod.tensorflow.util import native_variable

import tensorflow as tf

__all__ = ["LocalGradientAggregationHelperEager"]


class LocalGradientAggregationHelperEager:
    """Accumulates gradients; works eagerly and in a `tf.function`.

    Args:
        backward_passes_per_step: how many gradients make a step.
        allreduce_func: from `_make_allreduce_grads_fn`.
        sparse_as_dense: add `tf.IndexedSlices` as full tensors; else they are refused.
        average_aggregated_gradients: divide the sum by `backward_passes_per_step`.
        process_set: the processes that take part.
        scale_local_gradients: divide the gradients of local variables by their number.
    """

    def __init__(
        self,
        backward_passes_per_step: int,
        allreduce_func: Callable[..., list[Any]],
        sparse_as_dense: bool,
        average_aggregated_gradients: bool,
        process_set: ProcessSet = global_process_set,
        scale_local_gradients: bool = True,
    ) -> None:
        if backward_passes_per_step <= 0:
            raise ValueError("backward_passes_per_step must be > 0")
        self.backward_passes_per_step = backward_passes_per_step
        self.allreduce_grads = allreduce_func
        self.sparse_as_dense = sparse_as_dense
        self.average_aggregated_gradients = average_aggregated_gradients
        self.process_set = process_set
        self.scale_local_gradients = scale_local_gradients
        self.locally_aggregated_grads: dict[int, Any] = {}
        # 0 after a step was made; gradients are reduced when it reaches the number of passes.
        self.counter = tf.Variable(0, trainable=False, name="aggregation_counter")
        self._local_vars: set[Any] = set()

    def register_local_var(self, var: Any) -> None:
        """Leave a variable's gradient to this process: it is not reduced."""
        self._local_vars.add(key_of(var))

    def compute_gradients(
        self, grads: Sequence[Any], vars: Sequence[Any], use_generic_names: bool | str = False
    ) -> list[Any]:
        """Add gradients. What comes back is the reduced sum when a step is due, else not of use."""
        dense = [self._dense(g) for g in grads]
        places = [i for i, g in enumerate(dense) if g is not None]
        for i in places:
            self._sum_of(i, dense[i]).assign_add(dense[i])
        self.counter.assign_add(1)
        sums = [self.locally_aggregated_grads[i].read_value() for i in places]
        results = tf.cond(
            tf.equal(self.counter, self.backward_passes_per_step),
            lambda: self._step(sums, [vars[i] for i in places], use_generic_names),
            lambda: [tf.identity(s) for s in sums],
        )
        for i, result in zip(places, results, strict=True):
            dense[i] = result
        return dense

    def apply_gradients(
        self, apply_grads_closure: Callable[[], Any], optimizer: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Call the closure when a step is due; otherwise only count the optimizer's iterations."""

        def count() -> Any:
            iterations = getattr(optimizer, "iterations", None)
            if iterations is None:
                return tf.no_op()
            return tf.convert_to_tensor(native_variable(iterations).assign_add(1))

        def apply() -> Any:
            result = apply_grads_closure()
            iterations = getattr(optimizer, "iterations", None)
            return (
                result if iterations is None else tf.convert_to_tensor(native_variable(iterations))
            )

        return tf.cond(tf.equal(self.counter, 0), apply, count)

    def _dense(self, gradient: Any) -> Any:
        if not isinstance(gradient, tf.IndexedSlices):
            return gradient
        if not self.sparse_as_dense:
            raise ValueError(
                "IndexedSlices are not supported when `backward_passes_per_step` > 1 and "
                "`sparse_as_dense` is False; pass sparse_as_dense=True."
            )
        return tf.convert_to_tensor(gradient)

    def _sum_of(self, place: int, gradient: Any) -> Any:
        if place not in self.locally_aggregated_grads:
            with tf.init_scope():
                self.locally_aggregated_grads[place] = tf.Variable(
                    tf.zeros(gradient.shape, gradient.dtype), trainable=False
                )
        return self.locally_aggregated_grads[place]

    def _step(
        self, sums: list[Any], variables: list[Any], use_generic_names: bool | str
    ) -> list[Any]:
        reduced = reduce_shared(
            self.allreduce_grads,
            sums,
            variables,
            self._local_vars,
            self.scale_local_gradients,
            self.process_set,
            use_generic_names,
        )
        if self.average_aggregated_gradients:
            reduced = [divided(g, self.backward_passes_per_step) for g in reduced]
        with tf.control_dependencies(reduced):
            self.counter.assign(0)
            for total in self.locally_aggregated_grads.values():
                total.assign(tf.zeros_like(total))
        return reduced
