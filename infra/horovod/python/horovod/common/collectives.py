"""Horovod's collectives by address and shape: the thin layer that all frameworks share.

A buffer is a tuple (data, out, shape, dtype): the address of the input, the address of the output
(0 lets the library allocate it), a tuple of ints, and one of `DTYPES`. In the memory of a GPU two
numbers follow: the GPU, and the caller's stream (a cudaStream_t). Buffers are dense and in C order.
An operation takes a list of them and returns a handle, an int. The memory behind a buffer must stay
where it is until the operation is done: the caller keeps it, by the handle.

`name` may be None or "" for a nameless operation; operations of different kinds may share a name,
as the kind is put before it. `process_set` is a process set's id.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from ctypes import c_char_p, c_double, c_int, c_int32, c_int64, c_void_p

from horovod.common import fork, library
from horovod.common.exceptions import HorovodInternalError

DTYPES = {
    "uint8": 0,
    "int8": 1,
    "uint16": 2,
    "int16": 3,
    "int32": 4,
    "int64": 5,
    "float16": 6,
    "float32": 7,
    "float64": 8,
    "bool": 9,
    "bfloat16": 10,
}

PRECONDITION = 2
ABORTED = 3
INVALID_ARGUMENT = 4
IN_PROGRESS = 5

SIGNAL_INTERVAL = 0.5
"""Seconds after which a wait looks whether Python has a signal to handle (Ctrl-C, SIGTERM)."""

Buffer = tuple[int, int, tuple[int, ...], int] | tuple[int, int, tuple[int, ...], int, int, int]

_pack = struct.Struct("=QQQiiiiQQQ").pack  # horovod_tensor
_held = library.load_holding_gil()
_free_running = library.load()
_SHAPES_KEPT = 4096
_shapes: dict[tuple[int, ...], tuple[int, int, object]] = {}


def _declare(dll: ctypes.CDLL, name: str, result: object, *arguments: object):
    function = getattr(dll, "horovod_" + name)
    function.restype, function.argtypes = result, arguments
    return function


# The structs are handed over as bytes, which ctypes passes by address without a copy.
_allreduce = _declare(
    _held, "allreduce", c_int64, c_char_p, c_int, c_char_p, c_int, c_double, c_double, c_int
)
_allgather = _declare(_held, "allgather", c_int64, c_char_p, c_int, c_char_p, c_int)
_broadcast = _declare(_held, "broadcast", c_int64, c_char_p, c_int, c_char_p, c_int, c_int)
_alltoall = _declare(_held, "alltoall", c_int64, c_char_p, c_int, c_void_p, c_int, c_char_p, c_int)
_reducescatter = _declare(
    _held, "reducescatter", c_int64, c_char_p, c_int, c_char_p, c_int, c_double, c_double, c_int
)
_join = _declare(_held, "join", c_int64, c_int, c_int)
_barrier = _declare(_held, "barrier", c_int64, c_int)
_poll = _declare(_held, "poll", c_int, c_int64)
_output = _declare(_held, "output", c_int, c_int64, c_int, c_void_p, c_void_p, c_void_p)
_received_splits = _declare(_held, "received_splits", c_int, c_int64, c_int, c_void_p, c_void_p)
_take = _declare(_held, "take", c_void_p, c_int64, c_int)
_order = _declare(_held, "order", c_int, c_int64, c_void_p)
_copy_output = _declare(_held, "copy_output", c_int, c_int64, c_int, c_void_p, c_void_p)
_error = _declare(_held, "error", c_char_p, c_int64)
_release = _declare(_held, "release", c_int, c_int64)
_last_error = _declare(_held, "last_error", c_char_p)
_wait = _declare(_free_running, "wait", c_int, c_int64, c_double)
_finish = _declare(_free_running, "finish", c_int, c_int64, c_double)
free = _declare(_held, "free", None, c_void_p)


def last_error() -> str:
    """The text of the last failure in this thread."""
    return _last_error().decode(errors="replace")


def error_of(status: int, text: str) -> Exception:
    """The exception for a horovod_status: ValueError for an argument, else HorovodInternalError.

    It carries the number as `status`.
    """
    error = (ValueError if status == INVALID_ARGUMENT else HorovodInternalError)(text)
    error.status = status
    return error


def _shape(shape: tuple[int, ...]) -> tuple[int, int, object]:
    """The address of the shape's numbers, how many there are, and what holds them."""
    found = _shapes.get(shape)
    if found is None:
        numbers = (c_int64 * len(shape))(*shape)
        found = (ctypes.addressof(numbers), len(shape), numbers)
        if len(_shapes) < _SHAPES_KEPT:
            _shapes[tuple(shape)] = found
    return found


def _structs(buffers: Sequence[Buffer]) -> tuple[bytes, object]:
    """The buffers as an array of horovod_tensor, and what must live until it was read."""
    if len(buffers) == 1 and len(buffers[0]) == 4:
        data, out, shape, dtype = buffers[0]
        numbers = _shapes.get(shape) or _shape(shape)
        return _pack(data, out, numbers[0], numbers[1], dtype, -1, 0, 0, 0, 0), numbers
    if any(len(buffer) == 6 for buffer in buffers):
        return _structs_on_gpu(buffers)
    shapes = [_shape(buffer[2]) for buffer in buffers]
    packed = [
        _pack(data, out, numbers[0], numbers[1], dtype, -1, 0, 0, 0, 0)
        for (data, out, _, dtype), numbers in zip(buffers, shapes, strict=True)
    ]
    return b"".join(packed), shapes


def _structs_on_gpu(buffers: Sequence[Buffer]) -> tuple[bytes, object]:
    # A tensor on the CPU among them is refused by the library, which says which one it is.
    placed = [(*buffer, -1, 0) if len(buffer) == 4 else buffer for buffer in buffers]
    shapes = [_shape(buffer[2]) for buffer in buffers]
    packed = [
        _pack(data, out, numbers[0], numbers[1], dtype, device, 0, stream, 0, 0)
        for (data, out, _, dtype, device, stream), numbers in zip(placed, shapes, strict=True)
    ]
    return b"".join(packed), shapes


def _named(kind: str, name: str | None, buffers: Sequence[Buffer]) -> bytes | None:
    """The name on the wire, and in the timeline: upstream's."""
    if not name:
        return None
    return f"{kind}.{name}".encode() if len(buffers) == 1 else f"grouped_{kind}.{name}".encode()


def _checked(handle: int) -> int:
    if handle <= 0:
        raise error_of(-handle, last_error())
    return handle


def allreduce(
    buffers: Sequence[Buffer],
    name: str | None,
    op: int,
    prescale: float,
    postscale: float,
    process_set: int,
) -> int:
    """Starts an allreduce; several buffers are one group."""
    structs, _alive = _structs(buffers)
    name_of_all = _named("allreduce", name, buffers)
    handle = _allreduce(structs, len(buffers), name_of_all, op, prescale, postscale, process_set)
    return handle if handle > 0 else _checked(handle)


def allgather(buffers: Sequence[Buffer], name: str | None, process_set: int) -> int:
    """Starts an allgather along the first dimension; `out` is 0."""
    structs, _alive = _structs(buffers)
    name_of_all = _named("allgather", name, buffers)
    return _checked(_allgather(structs, len(buffers), name_of_all, process_set))


def broadcast(buffers: Sequence[Buffer], name: str | None, root_rank: int, process_set: int) -> int:
    """Starts a broadcast from `root_rank`, which counts in the global process set."""
    structs, _alive = _structs(buffers)
    name_of_all = _named("broadcast", name, buffers)
    return _checked(_broadcast(structs, len(buffers), name_of_all, root_rank, process_set))


def alltoall(
    buffers: Sequence[Buffer], splits: Sequence[int] | None, name: str | None, process_set: int
) -> int:
    """Starts an alltoall; `splits` holds one number per buffer and rank. `out` is 0."""
    structs, _alive = _structs(buffers)
    name_of_all = _named("alltoall", name, buffers)
    numbers = (c_int32 * len(splits))(*splits) if splits else None
    count = len(splits) if splits else 0
    return _checked(_alltoall(structs, len(buffers), numbers, count, name_of_all, process_set))


def reducescatter(
    buffers: Sequence[Buffer],
    name: str | None,
    op: int,
    prescale: float,
    postscale: float,
    process_set: int,
) -> int:
    """Starts a reducescatter along the first dimension; `out` may be 0."""
    structs, _alive = _structs(buffers)
    name_of_all = _named("reducescatter", name, buffers)
    return _checked(
        _reducescatter(structs, len(buffers), name_of_all, op, prescale, postscale, process_set)
    )


def join(device: int, process_set: int) -> int:
    """Says that this rank has no more data; output 0 is the rank that joined last (int32)."""
    return _checked(_join(device, process_set))


def barrier(process_set: int) -> int:
    """Starts a barrier of the process set."""
    return _checked(_barrier(process_set))


def poll(handle: int) -> bool:
    """Whether the operation is done, well or not. ValueError if there is no such handle."""
    done = _poll(handle)
    if done < 0:
        raise ValueError(f"handle {handle} belongs to no operation, or to one that was waited for")
    return done == 1


def finish(handle: int) -> None:
    """Waits until done and forgets the handle; raises if the operation failed."""
    status = IN_PROGRESS
    while status == IN_PROGRESS:  # between two waits Python runs its signal handlers
        status = _finish(handle, SIGNAL_INTERVAL)
    if status:
        raise error_of(status, last_error())


def wait(handle: int) -> None:
    """Waits until done; the handle stays, for `output`, unless the operation failed."""
    status = IN_PROGRESS
    while status == IN_PROGRESS:
        status = _wait(handle, SIGNAL_INTERVAL)
    if status:
        text = _error(handle).decode(errors="replace") or last_error()
        _release(handle)
        raise error_of(status, text)


def wait_at_most(handle: int, seconds: float) -> None:
    """Returns when the operation is done, well or not, or after `seconds`."""
    _wait(handle, seconds)


def output(handle: int, i: int) -> tuple[int, tuple[int, ...]]:
    """The address and the shape of output `i` of an operation that is done."""
    data, shape, ndim = c_void_p(), ctypes.POINTER(c_int64)(), c_int()
    status = _output(
        handle, i, ctypes.addressof(data), ctypes.addressof(shape), ctypes.addressof(ndim)
    )
    if status:
        raise error_of(status, last_error())
    return data.value or 0, tuple(shape[: ndim.value])


def order(handle: int, stream: int) -> None:
    """Orders a done operation before what `stream`, a cudaStream_t, is given from now on."""
    status = _order(handle, stream)
    if status:
        raise error_of(status, last_error())


def copy_output(handle: int, i: int, to: int, stream: int) -> None:
    """Queues a copy of output `i`, on a GPU, to the address `to`, on `stream`."""
    status = _copy_output(handle, i, to, stream)
    if status:
        raise error_of(status, last_error())


def received_splits(handle: int, i: int) -> list[int]:
    """The rows that alltoall number `i` received from each rank."""
    splits, count = ctypes.POINTER(c_int32)(), c_int()
    status = _received_splits(handle, i, ctypes.addressof(splits), ctypes.addressof(count))
    if status:
        raise error_of(status, last_error())
    return splits[: count.value]


def take(handle: int, i: int) -> int:
    """The address of output `i`, which is the caller's from now on, to be given to `free`."""
    return _take(handle, i) or 0


def release(handle: int) -> None:
    """Forgets a handle; the operation goes on, and its memory is still needed until it is done."""
    _release(handle)


def _refuse(*_arguments: object) -> int:
    raise RuntimeError(fork.MESSAGE)


def _refuse_in_forked_process() -> None:
    names = ("allreduce", "allgather", "broadcast", "alltoall", "reducescatter", "join", "barrier")
    for name in (*names, "wait", "finish"):
        globals()["_" + name] = _refuse


fork.when_forked(_refuse_in_forked_process)
