"""The C interface from plain ctypes, and tensors from plain lists: no NumPy, no framework."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from typing import Any

SUM, AVERAGE, ADASUM, MIN, MAX, PRODUCT = 1, 0, 2, 3, 4, 5
OK, PRECONDITION_ERROR, INVALID_ARGUMENT, IN_PROGRESS = 0, 2, 4, 5
DTYPES = {
    "uint8": (0, "B"),
    "int8": (1, "b"),
    "uint16": (2, "H"),
    "int16": (3, "h"),
    "int32": (4, "i"),
    "int64": (5, "q"),
    "float16": (6, "e"),
    "float32": (7, "f"),
    "float64": (8, "d"),
    "bool": (9, "?"),
    "bfloat16": (10, "bfloat16"),
}
Values = Sequence[float]
Callback = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class CTensor(ctypes.Structure):
    """horovod_tensor."""

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


def pack(dtype: str, values: Values) -> bytes:
    """The bytes of `values`. bfloat16 takes values that it can hold exactly."""
    if dtype != "bfloat16":
        return struct.pack(f"{len(values)}{DTYPES[dtype][1]}", *values)
    return b"".join(struct.pack("<f", value)[2:] for value in values)


def unpack(dtype: str, data: bytes) -> list[Any]:
    """The values of `data`."""
    if dtype != "bfloat16":
        size = struct.calcsize(DTYPES[dtype][1])
        return list(struct.unpack(f"{len(data) // size}{DTYPES[dtype][1]}", data))
    halves = [data[i : i + 2] for i in range(0, len(data), 2)]
    return [struct.unpack("<f", b"\0\0" + half)[0] for half in halves]


class Tensor:
    """One dense tensor in memory of its own; `to_own` gives it an output buffer of its own too."""

    def __init__(
        self,
        values: Values,
        dtype: str = "float32",
        shape: Sequence[int] | None = None,
        *,
        to_own: bool = False,
    ) -> None:
        self.dtype = dtype
        self.shape = [len(values)] if shape is None else list(shape)
        data = pack(dtype, values)
        self.data = ctypes.create_string_buffer(data, max(1, len(data)))
        self.out = ctypes.create_string_buffer(len(data)) if to_own and data else None
        self._shape = (ctypes.c_int64 * max(1, len(self.shape)))(*self.shape)

    def c(self) -> CTensor:
        """The struct that the library reads."""
        out = ctypes.addressof(self.out) if self.out is not None else None
        code = DTYPES[self.dtype][0]
        ndim = len(self.shape)
        return CTensor(ctypes.addressof(self.data), out, self._shape, ndim, code, -1)


class Failed(Exception):
    """An operation that failed: its status and text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Core:
    """One loaded library. Collectives here wait, and return lists of (shape, values)."""

    def __init__(self, path: str) -> None:
        self.lib = lib = ctypes.CDLL(path, mode=ctypes.RTLD_LOCAL)
        for name in ("allreduce", "allgather", "broadcast", "alltoall", "reducescatter"):
            getattr(lib, f"horovod_{name}").restype = ctypes.c_int64
        lib.horovod_join.restype = lib.horovod_barrier.restype = ctypes.c_int64
        for name in ("last_error", "error", "mpi_error", "mpi_library", "mpi_name", "dtype_name"):
            getattr(lib, f"horovod_{name}").restype = ctypes.c_char_p
        lib.horovod_take.restype = ctypes.c_void_p
        lib.horovod_dtype_size.restype = ctypes.c_int64
        for name in ("init", "mpi_enabled", "mpi_built", "gloo_enabled"):
            getattr(lib, f"horovod_{name}").restype = ctypes.c_bool

    def init(self) -> None:
        """horovod_init with all ranks; raises with the library's text."""
        if not self.lib.horovod_init(None, 0, None, None, 0):
            raise Failed(0, self.last_error())

    def last_error(self) -> str:
        """horovod_last_error of this thread."""
        return self.lib.horovod_last_error().decode()

    @property
    def rank(self) -> int:
        """This process's rank."""
        return self.lib.horovod_rank()

    def start(self, operation: str, tensors: Sequence[Tensor], name: str | None, *rest: Any) -> int:
        """Enqueues, and returns the handle."""
        array = (CTensor * len(tensors))(*(tensor.c() for tensor in tensors))
        encoded = name.encode() if name is not None else None
        call = getattr(self.lib, f"horovod_{operation}")
        if operation == "alltoall":
            splits, process_set = rest
            numbers = (ctypes.c_int32 * len(splits))(*splits) if splits else None
            return self.checked(
                call(array, len(tensors), numbers, len(splits or ()), encoded, process_set)
            )
        return self.checked(call(array, len(tensors), encoded, *rest))

    def checked(self, handle: int) -> int:
        """`handle`, or the failure that it stands for."""
        if handle <= 0:
            raise Failed(-handle, self.last_error())
        return handle

    def barrier(self) -> None:
        """Returns when every rank is here."""
        handle = self.checked(self.lib.horovod_barrier(0))
        status = self.lib.horovod_finish(ctypes.c_int64(handle), ctypes.c_double(60))
        if status != OK:
            raise Failed(status, self.last_error())

    def wait(self, handle: int, seconds: float = 60.0) -> int:
        """horovod_wait."""
        return self.lib.horovod_wait(ctypes.c_int64(handle), ctypes.c_double(seconds))

    def output(self, handle: int, i: int, dtype: str) -> tuple[list[int], list[Any]]:
        """Shape and values of output `i`."""
        data, ndim = ctypes.c_void_p(), ctypes.c_int()
        shape = ctypes.POINTER(ctypes.c_int64)()
        status = self.lib.horovod_output(
            ctypes.c_int64(handle), i, ctypes.byref(data), ctypes.byref(shape), ctypes.byref(ndim)
        )
        assert status == OK, self.last_error()
        dims = shape[: ndim.value] if ndim.value else []
        size = self.lib.horovod_dtype_size(DTYPES[dtype][0])
        for dim in dims:
            size *= dim
        return dims, unpack(dtype, ctypes.string_at(data, size))

    def run(
        self, operation: str, tensors: Sequence[Tensor], name: str | None, *rest: Any
    ) -> list[tuple[list[int], list[Any]]]:
        """Enqueues, waits, fetches all outputs, releases; raises `Failed`."""
        handle = self.start(operation, tensors, name, *rest)
        return self.finish(handle, tensors)

    def finish(self, handle: int, tensors: Sequence[Tensor]) -> list[tuple[list[int], list[Any]]]:
        """Waits for `handle`, fetches the outputs for `tensors`, releases; raises `Failed`."""
        status = self.wait(handle)
        try:
            if status != OK:
                raise Failed(status, self.lib.horovod_error(ctypes.c_int64(handle)).decode())
            return [self.output(handle, i, t.dtype) for i, t in enumerate(tensors)]
        finally:
            self.lib.horovod_release(ctypes.c_int64(handle))

    def allreduce(
        self,
        tensors: Sequence[Tensor],
        name: str | None,
        op: int = SUM,
        prescale: float = 1.0,
        postscale: float = 1.0,
        process_set: int = 0,
    ) -> list[tuple[list[int], list[Any]]]:
        """The result of an allreduce."""
        scales = (ctypes.c_double(prescale), ctypes.c_double(postscale))
        return self.run("allreduce", tensors, name, op, *scales, process_set)

    def reducescatter(
        self, tensors: Sequence[Tensor], name: str | None, op: int = SUM
    ) -> list[tuple[list[int], list[Any]]]:
        """The result of a reducescatter."""
        ones = (ctypes.c_double(1.0), ctypes.c_double(1.0))
        return self.run("reducescatter", tensors, name, op, *ones, 0)


def failure(call: Callable[[], object]) -> Failed:
    """The failure that `call` must raise."""
    try:
        result = call()
    except Failed as error:
        return error
    raise AssertionError(f"no failure, but {result}")
