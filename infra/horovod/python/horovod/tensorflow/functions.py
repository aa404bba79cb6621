"""Broadcasts of variables and of Python objects, and gathers of objects.

After horovod/tensorflow/functions.py of Horovod 0.28.1, copyright 2020 Uber Technologies, Inc.,
Apache License 2.0. Here variables of Keras 3 are known, and objects may be larger than 2 GB.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

import cloudpickle
import numpy as np
from horovod.tensorflow.mpi_ops import (
    ProcessSet,
    allgather,
    broadcast,
    broadcast_,
    global_process_set,
    rank,
)
from horovod.tensorflow.util import _cache, _executing_eagerly, _make_subgraph, native_variable

import tensorflow as tf
from tensorflow.python.framework import ops

__all__ = ["allgather_object", "broadcast_object", "broadcast_object_fn", "broadcast_variables"]


@_cache
def _make_broadcast_group_fn() -> Callable[..., Any]:
    def in_graph(variables: Any, root_rank: int, process_set: ProcessSet) -> Any:
        return tf.group(
            *[
                v.assign(broadcast(v, root_rank, process_set=process_set), read_value=False)
                if isinstance(v, tf.Variable) and hasattr(v, "handle")
                else tf.compat.v1.assign(v, broadcast(v, root_rank, process_set=process_set))
                for v in variables
            ]
        )

    def together(variables: Any, root_rank: int, process_set: ProcessSet) -> None:
        for i, variable in enumerate(variables):
            # Names by place: those of Keras's layers count what else a process has built.
            value = broadcast(
                variable,
                root_rank,
                name=f"HorovodBroadcast_variable_{i}",
                ignore_name_scope=True,
                process_set=process_set,
            )
            variable.assign(value)

    return _make_subgraph(together) if _executing_eagerly() else in_graph


def broadcast_variables(
    variables: Iterable[Any],
    root_rank: int,
    process_set: ProcessSet = global_process_set,
    inplace: bool = False,
) -> Any:
    """Give variables the root's values on every process of the set.

    Args:
        variables: TensorFlow's or Keras's; the same, in the same order, on all processes.
        root_rank: the sender's rank among all processes.
        process_set: the processes that take part.
        inplace: use `broadcast_`.

    Returns:
        None in eager execution, else the operation to run.
    """
    native = [native_variable(v) for v in variables]
    if not inplace:
        return _make_broadcast_group_fn()(native, root_rank, process_set) if native else tf.group()
    by_device: dict[str, list[Any]] = {}
    for variable in native:
        by_device.setdefault(variable.device, []).append(variable)
    done = [broadcast_(v, root_rank, process_set=process_set) for v in by_device.values()]
    return None if _executing_eagerly() else tf.group(*done)


def _pickled(value: Any) -> np.ndarray:
    buffer = io.BytesIO()
    cloudpickle.dump(value, buffer)
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8)


def _unpickled(data: Any) -> Any:
    return cloudpickle.load(io.BytesIO(np.asarray(data).tobytes()))


def _evaluated(session: Any) -> Callable[[Any], Any]:
    """A function that gives a tensor's NumPy value."""
    if _executing_eagerly():
        return lambda tensor: tensor.numpy()
    return (session or ops.get_default_session()).run


def broadcast_object(
    obj: Any,
    root_rank: int = 0,
    session: Any = None,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> Any:
    """The root's object on every process of the set.

    Args:
        obj: what cloudpickle can serialize; only the root's counts.
        root_rank: the sender's rank among all processes.
        session: for graph execution; the default session if None.
        name: prefix of the operations' names.
        process_set: the processes that take part.
    """
    value_of = _evaluated(session)
    name = name or "broadcast_object"
    is_root = rank() == root_rank
    data = _pickled(obj) if is_root else np.zeros(0, np.uint8)
    length = broadcast(
        tf.constant([data.size], tf.int64), root_rank, f"{name}_size", process_set=process_set
    )
    count = int(value_of(length)[0])
    if not is_root:
        data = np.zeros(count, np.uint8)
    sent = broadcast(tf.constant(data), root_rank, f"{name}_data", process_set=process_set)
    received = value_of(sent)
    return obj if is_root else _unpickled(received)


def broadcast_object_fn(
    root_rank: int = 0,
    session: Any = None,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> Callable[[Any], Any]:
    """A `broadcast_object` for graph execution that can be called often and adds nothing more."""
    name = name or "broadcast_object_fn"
    placeholder = tf.compat.v1.placeholder
    length = placeholder(tf.int64, [1], name=f"{name}_size")
    send_length = broadcast(length, root_rank, f"{name}_send_size", process_set=process_set)
    content = placeholder(tf.uint8, [None], name=f"{name}_data")
    send_content = broadcast(content, root_rank, f"{name}_send_data", process_set=process_set)
    session = session or ops.get_default_session()

    def send(obj: Any) -> Any:
        is_root = rank() == root_rank
        data = _pickled(obj) if is_root else np.zeros(0, np.uint8)
        count = session.run(send_length, feed_dict={length: [data.size]})
        if not is_root:
            data = np.zeros(int(count[0]), np.uint8)
        received = session.run(send_content, feed_dict={content: data})
        return obj if is_root else _unpickled(received)

    return send


def allgather_object(
    obj: Any,
    session: Any = None,
    name: str | None = None,
    process_set: ProcessSet = global_process_set,
) -> list[Any]:
    """Every process's object, in rank order, on every process of the set.

    Args:
        obj: what cloudpickle can serialize.
        session: for graph execution; the default session if None.
        name: prefix of the operations' names.
        process_set: the processes that take part.
    """
    value_of = _evaluated(session)
    name = name or "allgather_object"
    data = _pickled(obj)
    length = tf.constant([data.size], tf.int64)
    lengths = value_of(allgather(length, f"{name}_size", process_set=process_set))
    everything = value_of(allgather(tf.constant(data), f"{name}_data", process_set=process_set))
    ends = np.cumsum(lengths)
    return [
        _unpickled(everything[end - length : end])
        for end, length in zip(ends, lengths, strict=True)
    ]
