"""The stub of CUDA and NCCL, compiled, and tensors in the memory of its GPUs."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core_abi import DTYPES, CTensor, pack, unpack

HERE = Path(__file__).parent
_kept: list[GpuTensor] = []
"""All tensors: what a stream does late, in a control, must not write to memory that is gone."""


def build_stub(folder: Path) -> Path | None:
    """Compiles the stub; None if there is no C++ compiler."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        return None
    library = folder / "libgpu_stub.so"
    flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden"]
    command = [*compiler.split(), *flags, "-o", str(library), str(HERE / "gpu_stub.cc")]
    subprocess.run(command, check=True, timeout=300)
    return library


def stub_environment(stub: Path, folder: Path) -> dict[str, str]:
    """What makes the core load the stub."""
    return {
        "HOROVOD_CUDART_LIBRARY": str(stub),
        "HOROVOD_NCCL_LIBRARY": str(stub),
        "STUB_FOLDER": str(folder),
    }


class Gpu:
    """One GPU of the stub, and a stream on which its user works."""

    def __init__(self, device: int) -> None:
        self.device = device
        self.lib = lib = ctypes.CDLL(os.environ["HOROVOD_CUDART_LIBRARY"])
        lib.stub_stream.restype = ctypes.c_void_p
        self.stream: int = lib.stub_stream()
        self.stream_name = f"stream{lib.stub_number(ctypes.c_void_p(self.stream))}"

    def copy(self, to: int, source: int, size: int, milliseconds: int = 20) -> None:
        """A kernel on the user's stream that copies, and takes that long."""
        self.lib.stub_copy_kernel(
            ctypes.c_void_p(to),
            ctypes.c_void_p(source),
            ctypes.c_size_t(size),
            milliseconds,
            ctypes.c_void_p(self.stream),
        )

    def synchronize(self) -> None:
        """Waits until the user's stream is idle."""
        self.lib.cudaStreamSynchronize(ctypes.c_void_p(self.stream))

    def capture(self, on: bool) -> None:
        """Begins or ends the capture of the user's stream into a graph."""
        self.lib.stub_capture(ctypes.c_void_p(self.stream), int(on))

    def calls(self) -> list[str]:
        """What CUDA and NCCL were asked to do since `forget`, in order."""
        size = self.lib.stub_calls(None, 0) + 65536
        text = ctypes.create_string_buffer(size)
        self.lib.stub_calls(text, size)
        return text.value.decode().splitlines()

    def forget(self) -> None:
        """Empties the record of calls."""
        self.lib.stub_forget()


class GpuTensor:
    """A tensor whose values a slow kernel on the user's stream writes, after it was made."""

    def __init__(
        self,
        gpu: Gpu,
        values: Sequence[float],
        dtype: str = "float32",
        shape: Sequence[int] | None = None,
        *,
        to_own: bool = False,
    ) -> None:
        self.gpu, self.dtype = gpu, dtype
        self.shape = [len(values)] if shape is None else list(shape)
        self._values = ctypes.create_string_buffer(pack(dtype, values) or b"\0")
        self.size = len(pack(dtype, values))
        self.data = ctypes.create_string_buffer(b"\xff" * max(1, self.size), max(1, self.size))
        self.out = ctypes.create_string_buffer(self.size) if to_own and self.size else None
        self._shape = (ctypes.c_int64 * max(1, len(self.shape)))(*self.shape)
        gpu.copy(ctypes.addressof(self.data), ctypes.addressof(self._values), self.size)
        _kept.append(self)

    def c(self) -> CTensor:
        """The struct that the library reads."""
        out = ctypes.addressof(self.out) if self.out is not None else None
        code, ndim = DTYPES[self.dtype][0], len(self.shape)
        data = ctypes.addressof(self.data)
        return CTensor(data, out, self._shape, ndim, code, self.gpu.device, 0, self.gpu.stream)


def results(core: Any, gpu: Gpu, handle: int, tensors: Sequence[GpuTensor]) -> list[tuple]:
    """Waits as a caller does, reads the results by kernels on its stream, and releases.

    Returns:
        The shape and the values of each output.
    """
    from core_abi import OK, Failed

    status = core.wait(handle)
    try:
        if status != OK:
            raise Failed(status, core.lib.horovod_error(ctypes.c_int64(handle)).decode())
        read = [_read(core, gpu, handle, i, tensor) for i, tensor in enumerate(tensors)]
        gpu.synchronize()
        return [(shape, unpack(dtype, memory.raw[:size])) for shape, dtype, memory, size in read]
    finally:
        core.lib.horovod_release(ctypes.c_int64(handle))


def _read(core: Any, gpu: Gpu, handle: int, i: int, tensor: GpuTensor) -> tuple:
    data, ndim = ctypes.c_void_p(), ctypes.c_int()
    shape = ctypes.POINTER(ctypes.c_int64)()
    arguments = (ctypes.byref(data), ctypes.byref(shape), ctypes.byref(ndim))
    assert core.lib.horovod_output(ctypes.c_int64(handle), i, *arguments) == 0, core.last_error()
    dims = shape[: ndim.value] if ndim.value else []
    size = len(pack(tensor.dtype, [0]))
    for dim in dims:
        size *= dim
    memory = ctypes.create_string_buffer(max(1, size))
    to = ctypes.c_void_p(ctypes.addressof(memory))
    if tensor.out is None:  # the library's own memory
        status = core.lib.horovod_copy_output(
            ctypes.c_int64(handle), i, to, ctypes.c_void_p(gpu.stream)
        )
        assert status == 0, core.last_error()
    else:
        gpu.copy(ctypes.addressof(memory), data.value or 0, size, milliseconds=0)
    return dims, tensor.dtype, memory, size
