"""Owns the collectives on plain values: sums of arrays, a flag, bytes, plain objects."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.errors import UserError
from hvdcore.keras.native import engine
from hvdcore.keras.phases import waiting

__all__ = ["allgather_rows", "allreduce_sum", "any_rank", "broadcast_object"]

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
    with waiting(), tf.device("CPU:0"):  # sums of metrics must not wait in a GPU's queue
        total = hvd.allreduce(tf.constant(values), op=hvd.Sum, name="hvdcore_allreduce_sum")
    result: npt.NDArray[Any] = total.numpy()
    return result


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on at least one rank. Every rank must call."""
    return bool(allreduce_sum(np.array([int(flag)], dtype=np.int64))[0] > 0)


def allgather_rows(row: bytes) -> list[bytes]:
    """Every rank's row, in rank order. Rows must be equally long. Every rank must call."""
    hvd = engine()
    if hvd.size() == 1:
        return [row]
    with waiting(), tf.device("CPU:0"):
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
    with waiting(), tf.device("CPU:0"):
        # The root's bytes and nobody else's: a gather needs no length to be known beforehand.
        mine = tf.constant(np.frombuffer(text, dtype=np.uint8))
        everyone = hvd.allgather(mine, name="hvdcore_broadcast_object")
    return json.loads(everyone.numpy().tobytes())
