"""What `horovod.keras` and `horovod.tensorflow.keras` share, for Keras 3 and Keras 2 (tf_keras).

After horovod/_keras/__init__.py of Horovod 0.28.1, copyright 2017 Uber Technologies, Inc.,
Apache License 2.0.
"""

from __future__ import annotations

import contextlib
from typing import Any

import horovod.tensorflow as hvd
import tensorflow as tf
from horovod._keras import h5_of_keras2, keras2, keras3
from horovod._keras.h5 import is_h5, mend_optimizer
from horovod._keras.settings import Settings

__all__ = ["CallableList", "create_distributed_optimizer", "load_model"]

CallableList = keras2.CallableList


def create_distributed_optimizer(
    keras: Any,
    optimizer: Any,
    name: str | None = None,
    device_dense: str = "",
    device_sparse: str = "",
    compression: Any = hvd.Compression.none,
    sparse_as_dense: bool = False,
    gradient_predivide_factor: float = 1.0,
    op: int = hvd.Average,
    backward_passes_per_step: int = 1,
    average_aggregated_gradients: bool = False,
    groups: Any = None,
    process_set: Any = hvd.global_process_set,
    scale_local_gradients: bool = True,
) -> Any:
    """A new optimizer of the same class and configuration that reduces gradients first.

    Args:
        keras: not used; the optimizer's own class tells which Keras it is of.
        optimizer: of Keras 3 or Keras 2.

    The other arguments are those of `horovod.tensorflow.keras.DistributedOptimizer`.

    Raises:
        TypeError: not an optimizer.
        RuntimeError: Keras runs on another backend than TensorFlow.
    """
    settings = Settings(
        name=name or f"Distributed{type(optimizer).__name__}",
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
    if keras3.is_optimizer(optimizer):
        return keras3.distributed_copy(optimizer, settings)
    if keras2.is_optimizer(optimizer):
        return keras2.distributed_copy(optimizer, settings)
    raise TypeError(
        f"optimizer: got {type(optimizer).__module__}.{type(optimizer).__name__}; give a Keras "
        "optimizer (keras.optimizers..., or tf_keras.optimizers...)"
    )


def load_model(
    keras: Any,
    wrap_optimizer: Any,
    filepath: Any,
    custom_optimizers: Any = None,
    custom_objects: Any = None,
    legacy_opts: bool = False,
) -> Any:
    """Load a model whose optimizer then reduces gradients.

    Args:
        keras: the Keras that saved it.
        wrap_optimizer: (optimizer class) -> a function that makes a distributed one from its
            configuration; used for Keras 2 alone.
        filepath: the file.
        custom_optimizers: optimizer classes that are not Keras's.
        custom_objects: names to classes and functions that Keras must know.
        legacy_opts: the optimizer is one of `tf.keras.optimizers.legacy`.
    """
    if keras3.is_keras3(keras):
        given = {cls.__name__: cls for cls in custom_optimizers or ()}
        given.update(custom_objects or {})
        if is_h5(filepath) and h5_of_keras2.is_of_keras2(filepath):
            return h5_of_keras2.load(keras, filepath, given)
        known = {**_losses_by_text(keras, filepath), **given}
        model = keras.models.load_model(filepath, custom_objects=known)
        if is_h5(filepath):
            mend_optimizer(model, filepath)
        return model
    base = keras.optimizers.legacy.Optimizer if legacy_opts else keras.optimizers.Optimizer
    known = {}
    for cls in base.__subclasses__():
        known[cls.__name__.lower()] = known[f"Distributed{cls.__name__}"] = wrap_optimizer(cls)
    known.update({cls.__name__: wrap_optimizer(cls) for cls in custom_optimizers or ()})
    known.update(custom_objects or {})
    return keras.models.load_model(filepath, custom_objects=known)


def _losses_by_text(keras: Any, filepath: Any) -> dict[str, Any]:
    """What `loss="mse"` and its like mean in an .h5 file; Keras 3.15 does not find them."""
    if not is_h5(filepath):
        return {}
    found = {}
    for name in _LOSSES:
        with contextlib.suppress(ValueError):
            found[name] = keras.losses.get(name)
    return found


_LOSSES = (
    "mse", "mae", "mape", "msle", "kld", "mean_squared_error", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_logarithmic_error", "kl_divergence",
)  # fmt: skip


def _eval(backend: Any, result: Any) -> Any:
    if hvd._executing_eagerly():
        return result
    return backend.get_session().run(result)


def broadcast_global_variables(backend: Any, root_rank: int) -> Any:
    """See `horovod.tensorflow.broadcast_global_variables`."""
    return _eval(backend, hvd.broadcast_global_variables(root_rank))


def allreduce(
    backend: Any,
    value: Any,
    name: str | None,
    average: bool | None,
    prescale_factor: float,
    postscale_factor: float,
    op: int | None,
    compression: Any,
) -> Any:
    """`horovod.tensorflow.allreduce` of anything that can be made a tensor."""
    reduced = hvd.allreduce(
        tf.constant(value, name=name),
        average=average,
        prescale_factor=prescale_factor,
        postscale_factor=postscale_factor,
        op=op,
        compression=compression,
    )
    return _eval(backend, reduced)


def allgather(backend: Any, value: Any, name: str | None) -> Any:
    """`horovod.tensorflow.allgather` of anything that can be made a tensor."""
    return _eval(backend, hvd.allgather(tf.constant(value, name=name)))


def broadcast(backend: Any, value: Any, root_rank: int, name: str | None) -> Any:
    """`horovod.tensorflow.broadcast` of anything that can be made a tensor."""
    return _eval(backend, hvd.broadcast(tf.constant(value, name=name), root_rank))


def reducescatter(backend: Any, value: Any, name: str | None, op: int) -> Any:
    """`horovod.tensorflow.reducescatter` of anything that can be made a tensor."""
    return _eval(backend, hvd.reducescatter(tf.constant(value, name=name), op=op))
