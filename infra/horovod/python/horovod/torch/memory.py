"""Tensors as buffers of Horovod's core, and the core's outputs as tensors."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence

from horovod.common import collectives
from horovod.torch import gpu

import torch

DTYPES: dict[torch.dtype, int] = {
    getattr(torch, name): code
    for name, code in collectives.DTYPES.items()
    if hasattr(torch, name)  # uint16 came with PyTorch 2.3
}
"""The numbers that horovod_c.h gives to element types."""

_PAIRS = {
    torch.complex32: DTYPES[torch.float16],
    torch.complex64: DTYPES[torch.float32],
    torch.complex128: DTYPES[torch.float64],
}
"""A complex number is sent as its real and its imaginary part, in one more dimension."""

_OF_SIZE = {
    1: DTYPES[torch.uint8],
    2: DTYPES[torch.int16],
    4: DTYPES[torch.int32],
    8: DTYPES[torch.int64],
}
"""What other types (float8, uint32, ...) are sent as where they are not reduced."""

_code_of = DTYPES.get


def check(tensor: torch.Tensor, reduces: bool = True) -> int:
    """The tensor's element type as the core's number; ValueError if Horovod cannot take it.

    Args:
        tensor: what is to be communicated.
        reduces: whether the operation computes with the elements, or only moves them.
    """
    code = DTYPES.get(tensor.dtype, _PAIRS.get(tensor.dtype))
    if code is None and not reduces and not tensor.is_quantized:
        code = _OF_SIZE.get(tensor.itemsize)
    if code is None:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise ValueError(
            f"Tensor type {tensor.dtype} is not supported. Horovod reduces {known} and complex"
            " numbers: convert the tensor first."
        )
    if not (tensor.is_cpu or tensor.is_cuda):
        raise ValueError(
            f"The tensor is on device {tensor.device}, and Horovod communicates tensors in the"
            " memory of the CPU or of an NVIDIA GPU: pass tensor.cpu()."
        )
    if tensor.layout is not torch.strided:
        raise ValueError(
            f"A tensor of layout {tensor.layout} is not supported here: use"
            " sparse_allreduce_async for a sparse gradient, or tensor.to_dense()."
        )
    return code


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy of it, in C order, which all ranks have in common."""
    if is_dense(tensor):
        return tensor
    check(tensor, reduces=False)
    return tensor.detach().resolve_conj().resolve_neg().contiguous()


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether the memory holds the values in C order, and not those of opposite sign."""
    return tensor.is_contiguous() and not tensor.is_neg() and not tensor.is_conj()


def buffer(
    source: torch.Tensor, target: torch.Tensor | None = None, reduces: bool = True
) -> collectives.Buffer:
    """What the core needs to know of a dense tensor and of the dense tensor for its result."""
    dtype = _code_of(source.dtype)
    if dtype is None or not source.is_cpu:
        dtype = check(source, reduces)
    shape = (*source.shape, 2) if source.is_complex() else source.shape
    if not source.is_cpu:
        return gpu.buffer(source, target, shape, dtype)
    data = source.data_ptr()
    out = 0 if target is None else data if target is source else target.data_ptr()
    return (data, out, shape, dtype)


def refusal(value: object) -> TypeError:
    """The error for what is no tensor."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return TypeError(
        f"horovod.torch communicates tensors, not {kind}: give torch.as_tensor(value), or use"
        " broadcast_object and allgather_object"
    )


def empty(tensor: torch.Tensor) -> torch.Tensor:
    """A new dense tensor of the same shape and type."""
    if not isinstance(tensor, torch.Tensor):
        raise refusal(tensor)
    if tensor.is_cpu:
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)


def copy_back(targets: Sequence[torch.Tensor], results: Sequence[torch.Tensor]) -> None:
    """Copies results that were made in C order to tensors that have another one."""
    with torch.no_grad():
        for target, result in zip(targets, results, strict=True):
            if target is not result:
                target.copy_(result)


def taken_output(handle: int, i: int, source: torch.Tensor) -> torch.Tensor:
    """Output `i` of an operation that is done, of the type and on the device of `source`.

    On the CPU nothing is copied: the core's memory lives as long as the tensor.
    """
    if not source.is_cpu:
        return gpu.copied_output(handle, i, source, output_shape(handle, i, source))
    dtype = source.dtype
    shape = output_shape(handle, i, source)
    data = collectives.take(handle, i)
    nbytes = dtype.itemsize
    for extent in shape:
        nbytes *= extent
    if nbytes == 0:
        collectives.free(data)
        return torch.empty(shape, dtype=dtype)
    memory = (ctypes.c_char * nbytes).from_address(data)
    # Not at exit: a tensor may be used until the very end of the process.
    weakref.finalize(memory, collectives.free, data).atexit = False
    return torch.frombuffer(memory, dtype=dtype).view(shape)


def output_shape(handle: int, i: int, source: torch.Tensor) -> tuple[int, ...]:
    """The shape of output `i` of an operation that is done, of the type of `source`."""
    _, shape = collectives.output(handle, i)
    return shape[:-1] if source.is_complex() else shape
