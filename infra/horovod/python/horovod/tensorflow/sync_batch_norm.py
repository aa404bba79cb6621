"""Batch normalization whose mean and variance are those of all ranks' batches together.

After horovod/tensorflow/sync_batch_norm.py of Horovod 0.28.1, copyright 2020 Google Research and
NVIDIA, Apache License 2.0. Here ranks may have unequally many samples.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

from horovod.tensorflow.mpi_ops import Sum, _allreduce, size

import tensorflow as tf

__all__ = ["SyncBatchNormalization"]


def _over_ranks(mean: Any, variance: Any, count: Any) -> tuple[Any, Any]:
    """The moments of all ranks' samples, from those of each rank's `count` samples."""
    count = tf.cast(count, mean.dtype)
    square = variance + tf.square(mean)
    mine = tf.concat(
        [tf.reshape(mean, [-1]) * count, tf.reshape(square, [-1]) * count, [count]], axis=0
    )
    total = _allreduce(mine, op=Sum)
    sums, squares = tf.split(total[:-1] / total[-1], 2)
    group_mean = tf.reshape(sums, tf.shape(mean))
    group_square = tf.reshape(squares, tf.shape(mean))
    # Rounding must not make a variance negative.
    return group_mean, tf.maximum(group_square - tf.square(group_mean), 0.0)


class SyncBatchNormalization(tf.keras.layers.BatchNormalization):
    """Batch normalization over all ranks: as if one process had all their batches in one.

    Args:
        fused: only False; Keras's fused kernel cannot wait for other ranks.
        kwargs: those of `keras.layers.BatchNormalization`.

    Raises:
        ValueError: `fused` is not False.
    """

    def __init__(self, fused: bool = False, **kwargs: Any) -> None:
        if fused in (True, None):
            raise ValueError("SyncBatchNormalization does not support fused=True.")
        if not kwargs.get("name"):
            kwargs["name"] = "sync_batch_normalization"
        super().__init__(**kwargs)
        if hasattr(self, "fused"):  # Keras 2
            self.fused = False

    def _moments(self, inputs: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        mean, variance = super()._moments(inputs, *args, **kwargs)
        if size() == 1:
            return mean, variance
        axes = kwargs.get("reduction_axes", args[0] if args and _is_axes(args[0]) else None)
        mask = kwargs.get("mask", args[0] if args and axes is None else None)
        axes = self._reduction_axes if axes is None else axes
        return _over_ranks(mean, variance, _count(inputs, axes, mask))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("fused", None)
        return config


def _is_axes(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(axis, int) for axis in value)


def _count(inputs: Any, axes: Any, mask: Any) -> Any:
    """The number of samples that a mean over `axes` is made of."""
    if mask is not None:
        return tf.reduce_sum(tf.cast(mask, tf.float32))
    shape = tf.shape(inputs)
    return functools.reduce(operator.mul, [shape[axis] for axis in axes])


if hasattr(tf.keras, "saving") and hasattr(tf.keras.saving, "register_keras_serializable"):
    SyncBatchNormalization = tf.keras.saving.register_keras_serializable(package="horovod")(
        SyncBatchNormalization
    )
