"""The functions of `horovod.keras` and `horovod.tensorflow.keras`.

After horovod/keras/__init__.py and horovod/tensorflow/keras/__init__.py of Horovod 0.28.1,
copyright 2018 Uber Technologies, Inc., Apache License 2.0.
"""

from __future__ import annotations

from typing import Any

import horovod._keras as _impl
import tensorflow as tf
from horovod._keras import keras2, keras3
from horovod._keras.settings import Settings
from horovod.tensorflow import Average, Compression, ProcessSet, Sum, global_process_set
from horovod.tensorflow.gradients import check_groups, check_predivide_factor
from horovod.tensorflow.tape import variables_of_layers

__all__ = [
    "DistributedOptimizer",
    "PartialDistributedOptimizer",
    "allgather",
    "allreduce",
    "broadcast",
    "broadcast_global_variables",
    "load_model",
    "reducescatter",
]

_backend = tf.keras.backend


def DistributedOptimizer(
    optimizer: Any,
    name: str | None = None,
    device_dense: str = "",
    device_sparse: str = "",
    compression: Any = Compression.none,
    sparse_as_dense: bool = False,
    gradient_predivide_factor: float = 1.0,
    op: int = Average,
    backward_passes_per_step: int = 1,
    average_aggregated_gradients: bool = False,
    num_groups: int = 0,
    groups: Any = None,
    process_set: ProcessSet = global_process_set,
    scale_local_gradients: bool = True,
) -> Any:
    """A new Keras optimizer that reduces gradients over all ranks before it applies them.

    It is made from the configuration of the given one, which stays as it is: give the result to
    `model.compile`, or use it in a loop of your own. A model that is saved with it loads without
    Horovod; `hvd.load_model` loads it to go on training on several ranks.

    Args:
        optimizer: of Keras 3, or of tf_keras. Under mixed precision the optimizer itself or the
            `LossScaleOptimizer` around it.
        name: prefix of the operations' names; "Distributed" and the optimizer's class if None.
        device_dense: device for the reduction of tensors.
        device_sparse: device for that of `tf.IndexedSlices`.
        compression: how to make what is sent smaller, see `Compression`.
        sparse_as_dense: reduce the gradients of embeddings as full tensors.
        gradient_predivide_factor: divide by it before the sum, and by size / factor after it.
        op: Average or Sum.
        backward_passes_per_step: add up so many gradients on each rank before one reduction and
            one update. `iterations` counts every one of them.
        average_aggregated_gradients: divide the added gradients by `backward_passes_per_step`.
        num_groups: deprecated, use `groups`.
        groups: a number of groups, or lists of variables, whose gradients are reduced together.
        process_set: the ranks whose gradients are reduced; others update by their own.
        scale_local_gradients: divide the gradients of local variables by the number of ranks.

    Raises:
        ValueError: an argument does not fit the others.
        TypeError: not a Keras optimizer.
    """
    check_predivide_factor(gradient_predivide_factor, op)
    if op not in (Average, Sum):
        raise ValueError(
            "op currently only supports Average and Sum; Adasum needs an optimizer of "
            "tf.compat.v1.train"
        )
    return _impl.create_distributed_optimizer(
        keras=tf.keras,
        optimizer=optimizer,
        name=name,
        device_dense=device_dense,
        device_sparse=device_sparse,
        compression=compression,
        sparse_as_dense=sparse_as_dense,
        gradient_predivide_factor=gradient_predivide_factor,
        op=op,
        backward_passes_per_step=backward_passes_per_step,
        average_aggregated_gradients=average_aggregated_gradients,
        groups=check_groups(groups, num_groups),
        process_set=process_set,
        scale_local_gradients=scale_local_gradients,
    )


def PartialDistributedOptimizer(
    optimizer: Any,
    name: str | None = None,
    device_dense: str = "",
    device_sparse: str = "",
    compression: Any = Compression.none,
    sparse_as_dense: bool = False,
    gradient_predivide_factor: float = 1.0,
    op: int = Average,
    backward_passes_per_step: int = 1,
    average_aggregated_gradients: bool = False,
    groups: Any = None,
    process_set: ProcessSet = global_process_set,
    local_layers: Any = None,
    scale_local_gradients: bool = True,
) -> Any:
    """`DistributedOptimizer` that leaves some layers to each rank.

    Args:
        local_layers: a layer or several, built, whose gradients are not reduced.

    The other arguments are those of `DistributedOptimizer`.
    """
    distributed = DistributedOptimizer(
        optimizer,
        name=name,
        device_dense=device_dense,
        device_sparse=device_sparse,
        compression=compression,
        sparse_as_dense=sparse_as_dense,
        gradient_predivide_factor=gradient_predivide_factor,
        op=op,
        backward_passes_per_step=backward_passes_per_step,
        average_aggregated_gradients=average_aggregated_gradients,
        groups=groups,
        process_set=process_set,
        scale_local_gradients=scale_local_gradients,
    )
    for variable in variables_of_layers(local_layers):
        distributed.register_local_var(variable)
    return distributed


def broadcast_global_variables(root_rank: int) -> Any:
    """Give all ranks the root's global variables. Graph execution only.

    Raises:
        RuntimeError: in eager execution; use `broadcast_variables(model.variables, root_rank)` of
            `horovod.tensorflow`, or `BroadcastGlobalVariablesCallback`.
    """
    return _impl.broadcast_global_variables(_backend, root_rank)


def allreduce(
    value: Any,
    name: str | None = None,
    average: bool | None = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    op: int | None = None,
    compression: Any = Compression.none,
) -> Any:
    """Reduce over all ranks what can be made a tensor; see `horovod.tensorflow.allreduce`.

    Args:
        value: of the same shape and type on all ranks.
        name: of the constant that is made of it.
        average: deprecated, use `op`.
        prescale_factor: multiplies before the reduction.
        postscale_factor: multiplies after the reduction.
        op: Average (also if None), Sum, Min, Max, Product or Adasum.
        compression: how to make what is sent smaller, see `Compression`.
    """
    return _impl.allreduce(
        _backend, value, name, average, prescale_factor, postscale_factor, op, compression
    )


def allgather(value: Any, name: str | None = None) -> Any:
    """Concatenate along the first dimension what all ranks give."""
    return _impl.allgather(_backend, value, name)


def broadcast(value: Any, root_rank: int, name: str | None = None) -> Any:
    """The root's value on all ranks; shape and type must be the same on all."""
    return _impl.broadcast(_backend, value, root_rank, name)


def reducescatter(value: Any, name: str | None = None, op: int = Average) -> Any:
    """Reduce over all ranks, and leave to each its part of the rows."""
    return _impl.reducescatter(_backend, value, name, op)


def load_model(
    filepath: Any,
    custom_optimizers: Any = None,
    custom_objects: Any = None,
    compression: Any = Compression.none,
    legacy_opts: bool = False,
) -> Any:
    """Load a model to go on training on several ranks: its optimizer is distributed, state and all.

    Args:
        filepath: what Keras can load.
        custom_optimizers: optimizer classes that are not Keras's.
        custom_objects: names to other classes and functions that Keras must know.
        compression: see `DistributedOptimizer`.
        legacy_opts: the optimizer is one of `tf.keras.optimizers.legacy` (tf_keras).
    """

    def wrap_optimizer(cls: type) -> Any:
        return lambda **kwargs: DistributedOptimizer(
            keras2.of_config(cls, kwargs), compression=compression
        )

    model = _impl.load_model(
        tf.keras, wrap_optimizer, filepath, custom_optimizers, custom_objects, legacy_opts
    )
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and keras3.is_optimizer(optimizer):
        name = f"Distributed{type(optimizer).__name__}"
        if keras3.connection_of(optimizer) is None:
            keras3.connect(optimizer, Settings(name=name, compression=compression))
    elif keras2.is_optimizer(optimizer) and not keras2.is_distributed(optimizer):
        # Keras 2.11 and later write `Custom>Adam`, and find it past what load_model is given.
        distributed = DistributedOptimizer(optimizer, compression=compression)
        model.optimizer = keras2.with_state_of(distributed, optimizer, model.trainable_variables)
    return model
