"""`DistributedOptimizer` for TensorFlow 1's optimizers (`tf.compat.v1.train`) and for Keras's.

After horovod/tensorflow/__init__.py of Horovod 0.28.1, copyright 2016 The TensorFlow Authors, 2019
Uber Technologies, Inc. and Microsoft, Apache License 2.0.
"""

from __future__ import annotations

from typing import Any

from horovod.tensorflow.collectives import allreduce
from horovod.tensorflow.compression import Compression
from horovod.tensorflow.gradient_aggregation import LocalGradientAggregationHelper
from horovod.tensorflow.gradients import (
    _make_allreduce_grads_fn,
    check_groups,
    check_predivide_factor,
    key_of,
    reduce_shared,
)
from horovod.tensorflow.mpi_ops import Adasum, Average, ProcessSet, global_process_set, rank
from horovod.tensorflow.util import _executing_eagerly

import tensorflow as tf

__all__ = ["DistributedOptimizer"]

_LegacyOptimizer = tf.compat.v1.train.Optimizer


class _WrappedOptimizer(_LegacyOptimizer):
    """Passes on to another optimizer what is not about communication."""

    _optimizer: Any

    def get_slot(self, *args: Any, **kwargs: Any) -> Any:
        return self._optimizer.get_slot(*args, **kwargs)

    def get_slot_names(self, *args: Any, **kwargs: Any) -> Any:
        return self._optimizer.get_slot_names(*args, **kwargs)

    def variables(self, *args: Any, **kwargs: Any) -> Any:
        return self._optimizer.variables(*args, **kwargs)


class _DistributedOptimizer(_WrappedOptimizer):
    """An optimizer whose `compute_gradients` reduces them over all processes."""

    def __init__(
        self,
        optimizer: Any,
        name: str | None = None,
        use_locking: bool = False,
        device_dense: str = "",
        device_sparse: str = "",
        compression: Any = Compression.none,
        sparse_as_dense: bool = False,
        op: int = Average,
        gradient_predivide_factor: float = 1.0,
        backward_passes_per_step: int = 1,
        average_aggregated_gradients: bool = False,
        groups: Any = None,
        process_set: ProcessSet = global_process_set,
        scale_local_gradients: bool = True,
    ) -> None:
        name = name or f"Distributed{type(optimizer).__name__}"
        super().__init__(name=name, use_locking=use_locking)
        self._optimizer = optimizer
        self._local_vars: set[Any] = set()
        self.process_set = process_set
        self.scale_local_gradients = scale_local_gradients
        self._allreduce_grads = _make_allreduce_grads_fn(
            name,
            device_dense,
            device_sparse,
            compression,
            sparse_as_dense,
            op,
            gradient_predivide_factor,
            groups,
            process_set,
        )
        self._agg_helper = None
        if backward_passes_per_step > 1:
            if _executing_eagerly():
                raise ValueError(
                    "backward_passes_per_step > 1 needs graph execution for a tf.compat.v1 "
                    "optimizer; use a Keras optimizer, or tf.compat.v1.disable_eager_execution()"
                )
            self._agg_helper = LocalGradientAggregationHelper(
                backward_passes_per_step=backward_passes_per_step,
                allreduce_func=self._allreduce_grads,
                sparse_as_dense=sparse_as_dense,
                average_aggregated_gradients=average_aggregated_gradients,
                rank=rank(),
                optimizer_type=LocalGradientAggregationHelper._OPTIMIZER_TYPE_LEGACY,
                process_set=process_set,
                scale_local_gradients=scale_local_gradients,
                name=name,
            )

    def register_local_var(self, var: Any) -> None:
        """Leave a variable's gradient to this process: it is not reduced."""
        if self._agg_helper is not None:
            self._agg_helper.register_local_var(var)
        else:
            self._local_vars.add(key_of(var))

    def compute_gradients(self, *args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        """The wrapped optimizer's gradients, reduced; see its `compute_gradients`."""
        grads, variables = zip(*self._optimizer.compute_gradients(*args, **kwargs), strict=True)
        if self._agg_helper is not None:
            reduced = self._agg_helper.compute_gradients(grads, variables)
        else:
            reduced = reduce_shared(
                self._allreduce_grads,
                grads,
                variables,
                self._local_vars,
                self.scale_local_gradients,
                self.process_set,
            )
        return list(zip(reduced, variables, strict=True))

    def apply_gradients(
        self, grads_and_vars: Any, global_step: Any = None, name: str | None = None
    ) -> Any:
        """The wrapped optimizer's `apply_gradients`, of every step or every few."""

        def apply() -> Any:
            return self._optimizer.apply_gradients(
                grads_and_vars, global_step=global_step, name=name
            )

        if self._agg_helper is None:
            return apply()
        return self._agg_helper.apply_gradients(
            apply, self._optimizer, grads_and_vars, global_step=global_step, name=name
        )


class _DistributedAdasumOptimizer(_WrappedOptimizer):
    """An optimizer after whose step the changes of the weights are combined by Adasum."""

    def __init__(
        self,
        optimizer: Any,
        name: str | None = None,
        use_locking: bool = False,
        device_dense: str = "",
        device_sparse: str = "",
        compression: Any = Compression.none,
        backward_passes_per_step: int = 1,
    ) -> None:
        name = name or f"DistributedDelta{type(optimizer).__name__}"
        super().__init__(name=name, use_locking=use_locking)
        self._optimizer = optimizer
        self._devices = {"device_dense": device_dense, "device_sparse": device_sparse}
        self._compression = compression
        self._every = backward_passes_per_step

    def _prepare(self) -> None:
        self._optimizer._prepare()
        if not hasattr(self, "_step_count"):
            with tf.compat.v1.variable_scope(
                tf.compat.v1.get_variable_scope(), reuse=tf.compat.v1.AUTO_REUSE
            ):
                self._step_count = tf.compat.v1.get_variable(
                    name=f"{self._name}_step_count",
                    shape=[],
                    dtype=tf.int64,
                    trainable=False,
                    initializer=tf.compat.v1.zeros_initializer(),
                )
        self._is_first_step = tf.equal(self._step_count, 0)
        self._is_comm_step = tf.equal(self._step_count % self._every, self._every - 1)

    def _apply_shared(self, var: Any, get_update_op: Any) -> Any:
        start = self._get_or_make_slot(var, tf.zeros_like(var), "delta_start", self._name)
        begin = tf.cond(
            self._is_first_step, lambda: tf.group(start.assign(var)), lambda: tf.group()
        )
        with tf.control_dependencies([begin]):
            update = get_update_op()
        with tf.control_dependencies([update]):
            return tf.cond(
                self._is_comm_step, lambda: self._combine(var, start), lambda: tf.group()
            )

    def _combine(self, var: Any, start: Any) -> Any:
        delta = allreduce(var - start, compression=self._compression, op=Adasum, **self._devices)
        with tf.control_dependencies([start.assign_add(delta)]):
            return tf.group(
                var.assign(start.read_value() if hasattr(start, "read_value") else start)
            )

    def _apply_dense(self, grad: Any, var: Any) -> Any:
        return self._apply_shared(var, lambda: self._optimizer._apply_dense(grad, var))

    def _resource_apply_dense(self, grad: Any, handle: Any) -> Any:
        return self._apply_shared(
            handle, lambda: self._optimizer._resource_apply_dense(grad, handle)
        )

    def _apply_sparse(self, grad: Any, var: Any) -> Any:
        return self._apply_shared(var, lambda: self._optimizer._apply_sparse(grad, var))

    def _resource_apply_sparse(self, grad: Any, handle: Any, indices: Any) -> Any:
        return self._apply_shared(
            handle, lambda: self._optimizer._resource_apply_sparse(grad, handle, indices)
        )

    def _finish(self, update_ops: Any, name_scope: Any) -> Any:
        with tf.control_dependencies(update_ops):
            return tf.group(self._step_count.assign_add(1))

    def _create_slots(self, var_list: Any) -> None:
        self._optimizer._create_slots(var_list)

    def compute_gradients(self, *args: Any, **kwargs: Any) -> Any:
        """The wrapped optimizer's: each process goes its own way until the changes are combined."""
        return self._optimizer.compute_gradients(*args, **kwargs)

    def get_slot(self, var: Any, name: str) -> Any:
        slot = _LegacyOptimizer.get_slot(self, var, name)
        return self._optimizer.get_slot(var, name) if slot is None else slot

    def get_slot_names(self) -> list[str]:
        return _LegacyOptimizer.get_slot_names(self) + self._optimizer.get_slot_names()


def DistributedOptimizer(
    optimizer: Any,
    name: str | None = None,
    use_locking: bool = False,
    device_dense: str = "",
    device_sparse: str = "",
    compression: Any = Compression.none,
    sparse_as_dense: bool = False,
    backward_passes_per_step: int = 1,
    op: int = Average,
    gradient_predivide_factor: float = 1.0,
    average_aggregated_gradients: bool = False,
    num_groups: int = 0,
    groups: Any = None,
    process_set: ProcessSet = global_process_set,
    scale_local_gradients: bool = True,
) -> Any:
    """An optimizer that reduces gradients over all processes before it applies them.

    Args:
        optimizer: one of `tf.compat.v1.train`, or Keras's.
        name: prefix of the operations' names; "Distributed" and the optimizer's class if None.
        use_locking: see `tf.compat.v1.train.Optimizer`.
        device_dense: device for the reduction of tensors.
        device_sparse: device for that of `tf.IndexedSlices`.
        compression: how to make what is sent smaller, see `Compression`.
        sparse_as_dense: reduce slices as full tensors.
        backward_passes_per_step: add up so many gradients on each process before one reduction
            and one update.
        op: how to reduce. Adasum combines the changes that each process's optimizer makes, and
            needs an optimizer of `tf.compat.v1.train`.
        gradient_predivide_factor: with Average: divide by it before the sum, and by size / factor
            after it.
        average_aggregated_gradients: divide the added gradients by `backward_passes_per_step`.
        num_groups: deprecated, use `groups`.
        groups: a number of groups, or lists of variables, whose gradients are reduced together.
        process_set: the processes that take part.
        scale_local_gradients: divide the gradients of local variables by the number of processes.
    """
    check_predivide_factor(gradient_predivide_factor, op)
    groups = check_groups(groups, num_groups)
    if op == Adasum and average_aggregated_gradients:
        raise ValueError("Adasum does not support average_aggregated_gradients == True")
    common = {
        "name": name,
        "device_dense": device_dense,
        "device_sparse": device_sparse,
        "compression": compression,
        "backward_passes_per_step": backward_passes_per_step,
    }
    if isinstance(optimizer, _LegacyOptimizer) and op == Adasum:
        if process_set.process_set_id != 0:
            raise NotImplementedError("Adasum does not support process sets yet")
        return _DistributedAdasumOptimizer(optimizer, use_locking=use_locking, **common)
    if op == Adasum:
        raise ValueError(
            "op == Adasum is not supported with Keras: use op=Average, or an optimizer of "
            "tf.compat.v1.train"
        )
    common |= {
        "sparse_as_dense": sparse_as_dense,
        "op": op,
        "gradient_predivide_factor": gradient_predivide_factor,
        "average_aggregated_gradients": average_aggregated_gradients,
        "groups": groups,
        "process_set": process_set,
        "scale_local_gradients": scale_local_gradients,
    }
    if isinstance(optimizer, _LegacyOptimizer):
        return _DistributedOptimizer(optimizer, use_locking=use_locking, **common)
    import horovod.tensorflow.keras as hvd_keras

    return hvd_keras.DistributedOptimizer(optimizer, **common)
