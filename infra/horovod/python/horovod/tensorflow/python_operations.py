"""The operations made of Python, for a TensorFlow in which the compiled ones do not work.

In eager execution an operation starts and is waited for. In a graph it is two: one starts it and
returns at once, and the other takes the result out of a queue of its own, which a thread fills when
the result is there. TensorFlow waits for a queue without holding a thread, and queues are not put
into the order of the program; so all operations that can start do start, and ranks whose graphs run
in different order do not wait for each other.

The functions have the names and arguments of the compiled operations.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from horovod.common import library

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import ops

_BFLOAT16 = tf.bfloat16.as_numpy_dtype
_DTYPES = {
    np.dtype(kind): number
    for number, kind in enumerate(
        ["u1", "i1", "u2", "i2", "i4", "i8", "f2", "f4", "f8", "?", _BFLOAT16]
    )
}
_STATUSES = {
    2: tf.errors.FailedPreconditionError,
    3: tf.errors.AbortedError,
    4: tf.errors.InvalidArgumentError,
}


class _Tensor(ctypes.Structure):
    """horovod_tensor of horovod_c.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("ndim", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("device", ctypes.c_int32),
        ("flags", ctypes.c_int32),
        ("stream", ctypes.c_void_p),
        ("event", ctypes.c_void_p),
        ("reserved", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class _Call:
    """What an operation is, but for its tensors."""

    kind: str
    name: str
    process_set: int
    reduce_op: int = 0
    prescale: float = 1.0
    postscale: float = 1.0
    root_rank: int = 0
    splits: tuple[int, ...] = ()


class _Pending:
    """An operation that was started."""

    def __init__(self, call: _Call, arrays: Sequence[np.ndarray]) -> None:
        self.call = call
        self.inputs = [np.ascontiguousarray(a).reshape(np.shape(a)) for a in arrays]
        self.tensors = (_Tensor * len(self.inputs))(*map(_described, self.inputs))
        self.handle = _start(call, self.tensors)
        if self.handle <= 0:
            _fail(-self.handle, _text(library.load().horovod_last_error), call)

    def wait(self) -> list[np.ndarray]:
        core = library.load()
        status = core.horovod_wait(_handle(self.handle), ctypes.c_double(-1.0))
        try:
            if status != 0:
                _fail(status, _text(core.horovod_error, _handle(self.handle)), self.call)
            return self._outputs()
        finally:
            core.horovod_release(_handle(self.handle))

    def _outputs(self) -> list[np.ndarray]:
        if self.call.kind == "barrier":
            return []
        if self.call.kind == "join":
            return [_output(self.handle, 0, np.dtype(np.int32))]
        results = [_output(self.handle, i, a.dtype) for i, a in enumerate(self.inputs)]
        if self.call.kind == "alltoall":
            results.append(_received(self.handle))
        return results


def _described(array: np.ndarray) -> _Tensor:
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    dtype = _DTYPES[array.dtype]
    return _Tensor(data=array.ctypes.data, shape=shape, ndim=array.ndim, dtype=dtype, device=-1)


def _handle(number: int) -> ctypes.c_int64:
    return ctypes.c_int64(number)


def _text(function: Any, *arguments: Any) -> str:
    function.restype = ctypes.c_char_p
    return (function(*arguments) or b"").decode()


def _fail(status: int, message: str, call: _Call) -> None:
    kind = _STATUSES.get(status, tf.errors.UnknownError)
    raise kind(None, None, f"Horovod{call.kind.capitalize()} {call.name}: {message}")


def _start(call: _Call, tensors: Any) -> int:
    core, n, name = library.load(), len(tensors), call.name.encode()
    if not core.horovod_is_initialized():
        _fail(2, "Horovod has not been initialized; use hvd.init().", call)
    scales = ctypes.c_double(call.prescale), ctypes.c_double(call.postscale)
    arguments: dict[str, tuple[Any, ...]] = {
        "allreduce": (tensors, n, name, call.reduce_op, *scales, call.process_set),
        "reducescatter": (tensors, n, name, call.reduce_op, *scales, call.process_set),
        "allgather": (tensors, n, name, call.process_set),
        "broadcast": (tensors, n, name, call.root_rank, call.process_set),
        "alltoall": (tensors, n, *_splits(call.splits), name, call.process_set),
        "join": (-1, call.process_set),
        "barrier": (call.process_set,),
    }
    function = getattr(core, f"horovod_{call.kind}")
    function.restype = ctypes.c_int64
    return int(function(*arguments[call.kind]))


def _splits(splits: Sequence[int]) -> tuple[Any, int]:
    return ((ctypes.c_int32 * len(splits))(*splits) if splits else None), len(splits)


def _output(handle: int, place: int, dtype: np.dtype) -> np.ndarray:
    data, shape, ndim = ctypes.c_void_p(), ctypes.POINTER(ctypes.c_int64)(), ctypes.c_int()
    library.load().horovod_output(
        _handle(handle), place, ctypes.byref(data), ctypes.byref(shape), ctypes.byref(ndim)
    )
    result = np.empty([shape[i] for i in range(ndim.value)], dtype)
    ctypes.memmove(result.ctypes.data, data, result.nbytes)
    return result


def _received(handle: int) -> np.ndarray:
    rows, count = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_int()
    library.load().horovod_received_splits(
        _handle(handle), 0, ctypes.byref(rows), ctypes.byref(count)
    )
    return np.array([rows[i] for i in range(count.value)], np.int32)


# ---- In a graph ----------------------------------------------------------------------------------

_numbers = itertools.count()
_queues: dict[int, tuple[Any, list[tf.DType]]] = {}
_waiting: queue.SimpleQueue[tuple[_Pending, int]] = queue.SimpleQueue()


class _Waiter:
    """A thread that polls what was started and puts results into the queues."""

    _thread: threading.Thread | None = None
    _lock = threading.Lock()

    @classmethod
    def add(cls, pending: _Pending, number: int) -> None:
        _waiting.put((pending, number))
        with cls._lock:
            if cls._thread is None or not cls._thread.is_alive():
                cls._thread = threading.Thread(target=_serve, name="horovod-results", daemon=True)
                cls._thread.start()


def _serve() -> None:
    open_calls: list[tuple[_Pending, int]] = []
    while True:
        with contextlib.suppress(queue.Empty):
            while True:
                open_calls.append(_waiting.get(block=not open_calls, timeout=None))
                if _waiting.empty():
                    break
        still_open = []
        for pending, number in open_calls:
            if library.load().horovod_poll(_handle(pending.handle)) == 0:
                still_open.append((pending, number))
            else:
                _deliver(pending, number)
        open_calls = still_open
        if open_calls:
            library.load().horovod_wait(_handle(open_calls[0][0].handle), ctypes.c_double(0.001))


def _deliver(pending: _Pending, number: int) -> None:
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


def _in_graph(
    describe: Callable[[str], _Call],
    tensors: list[Any],
    dtypes: list[tf.DType],
    name: str,
    stateful: bool,
) -> list[Any]:
    """The outputs of an operation that runs whenever the graph does."""
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
                call = _with_splits(call, splits)
            _Waiter.add(_Pending(call, arrays), number)
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


def _with_splits(call: _Call, splits: np.ndarray) -> _Call:
    return _Call(call.kind, call.name, call.process_set, splits=tuple(int(s) for s in splits))


# ---- Operations ----------------------------------------------------------------------------------


def _run(
    kind: str,
    tensors: Sequence[Any],
    name: str | None,
    ignore_name_scope: bool,
    splits: Any = None,
    dtypes: Sequence[tf.DType] | None = None,
    **options: Any,
) -> list[Any]:
    tensors = [tf.convert_to_tensor(t) for t in tensors]
    dtypes = [t.dtype for t in tensors] if dtypes is None else list(dtypes)
    splits = tf.constant([], tf.int32) if splits is None else tf.convert_to_tensor(splits)
    if context.executing_eagerly():
        call = _Call(kind, f"Horovod{kind}", **options)
        if kind == "alltoall":
            call = _with_splits(call, splits.numpy())
        return [tf.constant(v) for v in _Pending(call, [t.numpy() for t in tensors]).wait()]
    scope = "" if ignore_name_scope else ops.get_default_graph().get_name_scope()
    full_name = "/".join(part for part in (scope, name or f"Horovod{kind}") if part)
    unique = full_name if ignore_name_scope else ops.get_default_graph().unique_name(full_name)
    return _in_graph(
        lambda known: _Call(kind, known, **options),
        [splits, *tensors],
        list(dtypes),
        unique,
        stateful=kind in ("join", "barrier"),  # as the compiled ones: they run even for no output
    )


def _shaped(outputs: Sequence[Any], inputs: Sequence[Any], same_rows: bool) -> list[Any]:
    for output, tensor in zip(outputs, inputs, strict=True):
        shape = tf.convert_to_tensor(tensor).shape
        if shape.rank is not None:
            output.set_shape(shape if same_rows or not shape.rank else [None, *shape[1:]])
    return list(outputs)


def _differentiable(
    forward: Callable[..., list[Any]], kind: str, inputs: Sequence[Any], **attributes: Any
) -> list[Any]:
    """The operation with the gradient that is registered for the compiled one."""

    @tf.custom_gradient
    def operation(*tensors: Any) -> Any:
        outputs = forward(tensors)

        def gradient(*grads: Any) -> Any:
            compute = ops.gradient_registry.lookup(kind)
            found = compute(_Node(tensors, outputs, attributes), *grads)
            found = list(found) if isinstance(found, (list, tuple)) else [found]
            return [*found, *([None] * (len(tensors) - len(found)))]

        return outputs, gradient

    result = operation(*[tf.convert_to_tensor(t) for t in inputs])
    return list(result) if isinstance(result, (list, tuple)) else [result]


class _Node:
    """What a registered gradient asks of its operation."""

    def __init__(self, inputs: Sequence[Any], outputs: Sequence[Any], attributes: Any) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._attributes = attributes

    def get_attr(self, name: str) -> Any:
        return self._attributes[name]


def _reduction(kind: str, registered: str, tensors: Sequence[Any], same: bool, a: Any) -> list[Any]:
    def forward(inputs: Sequence[Any]) -> list[Any]:
        outputs = _run(
            kind,
            inputs,
            a["name"],
            a["ignore_name_scope"],
            process_set=a["process_set_id"],
            reduce_op=a["reduce_op"],
            prescale=a["prescale_factor"],
            postscale=a["postscale_factor"],
        )
        return _shaped(outputs, inputs, same)

    return _differentiable(forward, registered, tensors, **a)


def _options(name: Any, ignore_name_scope: Any, process_set_id: Any, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "ignore_name_scope": ignore_name_scope,
        "process_set_id": process_set_id,
        **more,
    }


def horovod_allreduce(
    tensor: Any,
    reduce_op: int,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> Any:
    return horovod_grouped_allreduce(
        [tensor],
        reduce_op,
        prescale_factor,
        postscale_factor,
        ignore_name_scope,
        process_set_id,
        tensor_name,
        name,
    )[0]


def horovod_grouped_allreduce(
    tensors: Sequence[Any],
    reduce_op: int,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> list[Any]:
    options = _options(
        name,
        ignore_name_scope,
        process_set_id,
        reduce_op=reduce_op,
        prescale_factor=prescale_factor,
        postscale_factor=postscale_factor,
    )
    return _reduction("allreduce", "HorovodGroupedAllreduce", tensors, True, options)


def horovod_reducescatter(
    tensor: Any,
    reduce_op: int,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> Any:
    return horovod_grouped_reducescatter(
        [tensor],
        reduce_op,
        prescale_factor,
        postscale_factor,
        ignore_name_scope,
        process_set_id,
        tensor_name,
        name,
    )[0]


def horovod_grouped_reducescatter(
    tensors: Sequence[Any],
    reduce_op: int,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> list[Any]:
    options = _options(
        name,
        ignore_name_scope,
        process_set_id,
        reduce_op=reduce_op,
        prescale_factor=prescale_factor,
        postscale_factor=postscale_factor,
    )
    return _reduction("reducescatter", "HorovodGroupedReducescatter", tensors, False, options)


def horovod_allgather(
    tensor: Any,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> Any:
    return horovod_grouped_allgather(
        [tensor], ignore_name_scope, process_set_id, tensor_name, name
    )[0]


def horovod_grouped_allgather(
    tensors: Sequence[Any],
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> list[Any]:
    def forward(inputs: Sequence[Any]) -> list[Any]:
        outputs = _run("allgather", inputs, name, ignore_name_scope, process_set=process_set_id)
        return _shaped(outputs, inputs, False)

    options = _options(name, ignore_name_scope, process_set_id)
    return _differentiable(forward, "HorovodGroupedAllgather", tensors, **options)


def horovod_broadcast(
    tensor: Any,
    root_rank: int,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> Any:
    def forward(inputs: Sequence[Any]) -> list[Any]:
        outputs = _run(
            "broadcast",
            inputs,
            name,
            ignore_name_scope,
            process_set=process_set_id,
            root_rank=root_rank,
        )
        return _shaped(outputs, inputs, True)

    options = _options(name, ignore_name_scope, process_set_id, root_rank=root_rank)
    return _differentiable(forward, "HorovodBroadcast", [tensor], **options)[0]


def horovod_alltoall(
    tensor: Any,
    splits: Any,
    ignore_name_scope: bool = False,
    process_set_id: int = 0,
    tensor_name: str = "",
    name: str | None = None,
) -> tuple[Any, Any]:
    def forward(inputs: Sequence[Any]) -> list[Any]:
        output, received = _run(
            "alltoall",
            inputs[:1],
            name,
            ignore_name_scope,
            splits=inputs[1],
            dtypes=[inputs[0].dtype, tf.int32],
            process_set=process_set_id,
        )
        received.set_shape([None])
        return [*_shaped([output], inputs[:1], False), received]

    options = _options(name, ignore_name_scope, process_set_id)
    output, received = _differentiable(forward, "HorovodAlltoall", [tensor, splits], **options)
    return output, received


def horovod_join(process_set_id: int = 0, name: str | None = None) -> Any:
    (last,) = _run("join", [], name, False, dtypes=[tf.int32], process_set=process_set_id)
    last.set_shape([])
    return last


def horovod_barrier(process_set_id: int = 0, name: str | None = None) -> Any:
    outputs = _run("barrier", [], name, False, dtypes=[], process_set=process_set_id)
    return tf.group(*outputs)


def _number(function: str, *arguments: int) -> Any:
    def ask() -> np.ndarray:
        core = library.load()
        if not core.horovod_is_initialized():
            raise tf.errors.FailedPreconditionError(
                None, None, "Horovod has not been initialized; use hvd.init()."
            )
        return np.int32(getattr(core, function)(*arguments))

    if context.executing_eagerly():
        return tf.constant(ask())
    result = tf.numpy_function(ask, [], tf.int32)
    result.set_shape([])
    return result


def horovod_size(process_set_id: int = 0, name: str | None = None) -> Any:
    return _number("horovod_process_set_size", process_set_id)


def horovod_process_set_included(process_set_id: int = 0, name: str | None = None) -> Any:
    return _number("horovod_process_set_included", process_set_id)


def horovod_local_size(name: str | None = None) -> Any:
    return _number("horovod_local_size")


def horovod_rank(name: str | None = None) -> Any:
    return _number("horovod_rank")


def horovod_local_rank(name: str | None = None) -> Any:
    return _number("horovod_local_rank")
