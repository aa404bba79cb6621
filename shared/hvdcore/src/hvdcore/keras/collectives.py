"""Collectives on plain values: sums of arrays, a flag, bytes, plain objects; the heartbeat.

The watchdog blames the rank that is silent outside of communication. A whole Keras step is one call
into TensorFlow, so the heartbeat around a collective must be part of the graph.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.errors import UserError
from hvdcore.runtime import heartbeat
from hvdcore.runtime.environment import HEARTBEAT

__all__ = [
    "allgather_rows",
    "allreduce_sum",
    "any_rank",
    "barrier",
    "beat_once",
    "broadcast_object",
    "check_backend",
    "engine",
    "inside_collective",
    "waiting",
]


@contextmanager
def waiting(name: str = "") -> Iterator[None]:
    """Around a collective outside of any graph: 'communicate' within, 'compute' after."""
    heartbeat.beat("communicate", collective=name)
    yield
    heartbeat.beat("compute")


@contextmanager
def inside_collective(ready: list[Any]) -> Iterator[list[Any]]:
    """Beat 'communicate' once `ready` is computed, and 'compute' when the block's results are.

    Args:
        ready: what the collective waits for on this rank.

    Yields:
        A list that the block fills with its results. Nothing is added when unsupervised.
    """
    results: list[Any] = []
    if HEARTBEAT not in os.environ:
        yield results
        return
    with tf.control_dependencies(_flat(ready)):
        began = _beat("communicate")
    with tf.control_dependencies([began]):
        yield results
    with tf.control_dependencies(_flat(results)):
        _beat("compute")


def _beat(phase: str) -> Any:
    def tell() -> int:
        heartbeat.beat(phase, collective="the sum of the gradients")
        return 0

    return tf.numpy_function(tell, [], tf.int64)


def beat_once(phase: str, ready: list[Any]) -> Any:
    """Beat once `ready` is computed, while other operations of the graph go on.

    Args:
        ready: tensors of the graph, at least one.

    Returns:
        When that was, float64, in seconds of `time.perf_counter`. The beat happens only where this
        is used.
    """

    def tell(_: npt.NDArray[Any]) -> float:
        heartbeat.beat(phase, collective="the sum of the gradients")
        return time.perf_counter()

    with tf.control_dependencies(_flat(ready)):
        smallest = min(_flat(ready), key=lambda tensor: tensor.shape.num_elements() or math.inf)
        # A stateful operation would wait for those before it in the program, and they for it.
        return tf.numpy_function(tell, [smallest], tf.float64, stateful=False)


def _flat(values: list[Any]) -> list[Any]:
    return [v.values if isinstance(v, tf.IndexedSlices) else v for v in values]


@cache
def engine() -> Any:
    """`horovod.tensorflow`, imported on first use.

    Raises:
        UserError: Horovod is missing, or cannot be used with this TensorFlow.
    """
    try:
        import horovod.tensorflow
    except ImportError as error:
        raise UserError(f"horovod: {error}") from error

    module: ModuleType = horovod.tensorflow
    return module


def check_backend() -> None:
    """Keras must run on TensorFlow, for Horovod's operations are TensorFlow's.

    Raises:
        UserError: Keras uses another backend.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise UserError(f"KERAS_BACKEND: got {backend!r}; set KERAS_BACKEND=tensorflow")


_SUMMABLE = ("float64", "float32", "int64", "int32")


def allreduce_sum(array: npt.ArrayLike) -> npt.NDArray[Any]:
    """The elementwise sum over ranks, in the array's own type. Every rank must call.

    Args:
        array: float64, float32, int64 or int32, of one shape on all ranks.

    Returns:
        A new array of the same shape and type, equal on every rank.

    Raises:
        UserError: for any other element type.
    """
    values = np.asarray(array)
    if values.dtype.name not in _SUMMABLE:
        raise UserError(f"array: got {values.dtype}; give one of {', '.join(_SUMMABLE)}")
    hvd = engine()
    if hvd.size() == 1 or values.size == 0:
        return np.array(values)
    name = "hvdcore_allreduce_sum"
    with waiting(name), tf.device("CPU:0"):  # sums of metrics must not wait in a GPU's queue
        total = hvd.allreduce(tf.constant(values), op=hvd.Sum, name=name)
    result: npt.NDArray[Any] = total.numpy()
    return result


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on at least one rank. Every rank must call."""
    return bool(allreduce_sum(np.array([int(flag)], dtype=np.int64))[0] > 0)


def barrier() -> None:
    """Return when every rank has called this. Every rank must call."""
    any_rank(False)


def allgather_rows(row: bytes) -> list[bytes]:
    """Every rank's row, in rank order. Rows must be equally long. Every rank must call."""
    hvd = engine()
    if hvd.size() == 1:
        return [row]
    with waiting("hvdcore_allgather_rows"), tf.device("CPU:0"):
        mine = tf.constant(np.frombuffer(row, dtype=np.uint8)[None, :])
        rows = hvd.allgather(mine, name="hvdcore_allgather_rows")
    return [each.tobytes() for each in rows.numpy()]


def broadcast_object(value: Any, root_rank: int = 0) -> Any:
    """Root_rank's `value` on every rank, through JSON: tuples come back as lists. All must call.

    Raises:
        TypeError: on root_rank, the value is not made of JSON's types.
    """
    hvd = engine()
    if hvd.size() == 1:
        return json.loads(json.dumps(value))
    text = json.dumps(value).encode() if hvd.rank() == root_rank else b""
    with waiting("hvdcore_broadcast_object"), tf.device("CPU:0"):
        # The root's bytes and nobody else's: a gather needs no length to be known beforehand.
        mine = tf.constant(np.frombuffer(text, dtype=np.uint8))
        everyone = hvd.allgather(mine, name="hvdcore_broadcast_object")
    return json.loads(everyone.numpy().tobytes())
