"""Operations made of Python in a TensorFlow graph: one function starts, another takes the results.

The results come out of a queue of the operation's own, which a thread fills. TensorFlow waits for a
queue without holding a thread, and queues are not put into the order of the program; so all
operations that can start do start, and ranks whose graphs run in different order do not wait for
each other.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from horovod.tensorflow.python_calls import Call, StartedCall

import tensorflow as tf

_numbers = itertools.count()
_queues: dict[int, tuple[Any, list[tf.DType]]] = {}
_waiting: queue.SimpleQueue[tuple[StartedCall, int]] = queue.SimpleQueue()


class _Waiter:
    """A thread that polls what was started and puts results into the queues."""

    _thread: threading.Thread | None = None
    _lock = threading.Lock()

    @classmethod
    def add(cls, pending: StartedCall, number: int) -> None:
        _waiting.put((pending, number))
        with cls._lock:
            if cls._thread is None or not cls._thread.is_alive():
                cls._thread = threading.Thread(target=_serve, name="horovod-results", daemon=True)
                cls._thread.start()


def _serve() -> None:
    open_calls: list[tuple[StartedCall, int]] = []
    while True:
        with contextlib.suppress(queue.Empty):
            while True:
                open_calls.append(_waiting.get(block=not open_calls, timeout=None))
                if _waiting.empty():
                    break
        still_open = []
        for pending, number in open_calls:
            if pending.is_done():
                _deliver(pending, number)
            else:
                still_open.append((pending, number))
        open_calls = still_open
        if open_calls:
            open_calls[0][0].wait_at_most(0.001)


def _deliver(pending: StartedCall, number: int) -> None:
    try:
        values, error = pending.wait(), ""
    except tf.errors.OpError as failure:
        values, error = [], failure.message
    _put(number, values, error)


def _put(number: int, values: Sequence[np.ndarray], error: str) -> None:
    results, dtypes = _queues[number]
    if error:
        values = [np.zeros([0], t.as_numpy_dtype) for t in dtypes]
    with tf.device("CPU:0"):
        results.enqueue([tf.constant(error), *(tf.constant(v) for v in values)])


def in_graph(
    describe: Callable[[str], Call],
    tensors: list[Any],
    dtypes: list[tf.DType],
    name: str,
    stateful: bool,
) -> list[Any]:
    """The outputs of an operation that runs whenever the graph does.

    Args:
        describe: gives the call, by the name of the operation.
        tensors: the splits of an alltoall, else an empty tensor, and the operation's inputs.
        dtypes: of the outputs.
        name: of the operation, the same on all ranks.
        stateful: whether it runs if nothing needs its outputs.
    """
    number = next(_numbers)
    with tf.init_scope():
        if not tf.executing_eagerly():
            raise NotImplementedError(
                "horovod.tensorflow's operations in Python need TensorFlow 2's eager mode; the "
                "compiled ones (HOROVOD_TENSORFLOW_OPERATIONS=compiled) do not"
            )
        results = tf.queue.FIFOQueue(1024, [tf.string, *dtypes])
    _queues[number] = results, dtypes

    def start(_now: np.ndarray, splits: np.ndarray, *arrays: np.ndarray) -> np.ndarray:
        try:
            call = describe(name)
            if call.kind == "alltoall":
                call = with_splits(call, splits)
            _Waiter.add(StartedCall(call, arrays), number)
        except tf.errors.OpError as failure:
            _put(number, [], failure.message)
        return np.int32(0)

    splits, tensors = tensors[0], tensors[1:]
    # All by data: to the graph optimizer an order among operations without state means nothing.
    # That the queue is asked before it is filled does no harm.
    # A variable is among the inputs, for on constants alone it would be computed once and for all.
    started = tf.numpy_function(
        start, [_not_constant().read_value(), splits, *tensors], tf.int32, stateful=stateful
    )
    error, *outputs = tf.nest.flatten(results.dequeue())
    checked = tf.numpy_function(
        _checked, [error, started, *outputs], [tf.int32, *dtypes], stateful=stateful
    )
    return list(checked[1:]) or [checked[0]]


@functools.cache
def _not_constant() -> tf.Variable:
    with tf.init_scope(), tf.device("CPU:0"):
        return tf.Variable(0, trainable=False, name="horovod_not_constant")


def _checked(error: bytes, started: np.ndarray, *outputs: np.ndarray) -> tuple[np.ndarray, ...]:
    """The outputs; after a failure the step fails with its words."""
    if error:
        raise tf.errors.UnknownError(None, None, error.decode())
    return started, *outputs


def with_splits(call: Call, splits: np.ndarray) -> Call:
    """The call, with the rows that go to each rank."""
    return replace(call, splits=tuple(int(s) for s in splits))
