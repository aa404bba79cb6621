"""Tensors on a GPU: how their operations are ordered with PyTorch's streams.

The core reads a tensor when what was queued on the current stream before the call is done, and
nobody waits for the GPU: `synchronize` returns as soon as the result is queued, ordered before what
the stream that is then current gets next. Results that the core allocates are copied to a tensor of
PyTorch's own, so that its allocator knows of every tensor and of every stream that uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from horovod.common import collectives
from horovod.torch.compiled import keep_out

import torch


def buffer(
    source: torch.Tensor, target: torch.Tensor | None, shape: tuple[int, ...], dtype: int
) -> collectives.Buffer:
    """What the core needs to know of a dense tensor on a GPU and of the one for its result."""
    data = source.data_ptr()
    out = 0 if target is None else data if target is source else target.data_ptr()
    return (data, out, shape, dtype, source.device.index, _stream_of(source).cuda_stream)


def order(handle: int, tensors: Any) -> None:
    """Orders a done operation before what the current stream gets next.

    `tensors`, nested in lists and tuples, are those that it reads and writes. PyTorch may give
    their memory to others once the current stream is that far, and not before.
    """
    on_gpu = [tensor for tensor in _flat(tensors) if tensor.is_cuda]
    if not on_gpu:
        return
    stream = _stream_of(on_gpu[0])
    collectives.order(handle, stream.cuda_stream)
    for tensor in on_gpu:
        tensor.record_stream(stream)


def copied_output(handle: int, i: int, like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Output `i` of a done operation, which the core allocated, as a new tensor beside `like`."""
    result = torch.empty(shape, dtype=like.dtype, device=like.device)
    if result.numel():
        stream = _stream_of(like).cuda_stream
        collectives.copy_output(handle, i, result.data_ptr(), stream)
    return result


def _stream_of(tensor: torch.Tensor) -> torch.cuda.Stream:
    return torch.cuda.current_stream(tensor.device)


def _flat(tensors: Any) -> Iterator[torch.Tensor]:
    if isinstance(tensors, torch.Tensor):
        yield tensors
    elif isinstance(tensors, Iterable):
        for each in tensors:
            yield from _flat(each)


keep_out(globals())
