"""Operations under way: how they are started on tensors, what is kept for them, and how they end.

A handle is the core's number for an operation. The inputs are kept until it is done, as the core
reads their memory; so is the output, or the function that makes it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from horovod.common import collectives
from horovod.common.exceptions import HorovodInternalError
from horovod.common.process_sets import ProcessSet
from horovod.torch import gpu, memory
from horovod.torch.compiled import keep_out

import torch

_buffer = memory.buffer

Tensors = Sequence[torch.Tensor]
_Collect = Callable[[int], Any]

# What an operation under way needs: its inputs, which must not be freed before it is done, its
# output, and, where that is made afterwards, the function that makes it of the handle.
_handle_map: dict[int, tuple[Any, Any, _Collect | None]] = {}


def forget_all() -> None:
    """Drops what is kept for operations of a Horovod that has been stopped."""
    for handle in _handle_map:
        collectives.release(handle)
    _handle_map.clear()


def poll(handle) -> bool:
    """Whether the operation is done, so that `synchronize` will not wait."""
    return collectives.poll(handle)


def synchronize(handle):
    """Waits until the operation is done and returns its output, or a list of them.

    Raises `HorovodInternalError` if it failed. A handle that was waited for already gives None.
    Signals, Ctrl-C for instance, are handled while it waits.
    """
    if callable(handle):  # of sparse_allreduce_async
        return handle()
    entry = _handle_map.get(handle)
    if entry is None:
        return None
    collect = entry[2]
    try:
        if collect is None:
            collectives.finish(handle)
            output = entry[1]
        else:
            output = _collected(handle, entry[0], collect)
    except (HorovodInternalError, ValueError):
        _handle_map.pop(handle, None)
        raise
    _handle_map.pop(handle, None)
    return output


def _collected(handle: int, tensors: Any, collect: _Collect):
    collectives.wait(handle)
    try:
        gpu.order(handle, tensors)
        return collect(handle)
    finally:
        collectives.release(handle)


def set_id(process_set: ProcessSet) -> int:
    process_set_id = process_set.process_set_id
    if process_set_id is None:
        raise ValueError(
            f"{process_set} is not registered: give it to hvd.init(process_sets=...) or to"
            " hvd.add_process_set, and do not use it after its removal or a restart of Horovod"
        )
    return process_set_id


def kept(handle: int, inputs: Any, output: Any, collect: _Collect | None = None) -> int:
    _handle_map[handle] = (inputs, output, collect)
    return handle


def with_outputs(enqueue, tensors: Tensors, outputs: Tensors, name: str | None, *arguments):
    """Starts an operation on several tensors whose outputs exist, in place or not."""
    if not tensors:
        raise ValueError("a grouped operation needs at least one tensor")
    sources = [memory.dense(tensor) for tensor in tensors]
    targets = [
        output if memory.is_dense(output) else source
        for output, source in zip(outputs, sources, strict=True)
    ]
    reduces = enqueue is not collectives.broadcast
    buffers = [
        memory.buffer(source, target, reduces)
        for source, target in zip(sources, targets, strict=True)
    ]
    handle = enqueue(buffers, name, *arguments)
    outputs = list(outputs)
    in_place = all(output is target for output, target in zip(outputs, targets, strict=True))
    if in_place and sources[0].is_cpu:
        return kept(handle, sources, outputs)

    def collect(_handle):
        memory.copy_back(outputs, targets)
        return outputs

    return kept(handle, (sources, targets), outputs, collect)


def with_output(enqueue, tensor: torch.Tensor, output: torch.Tensor, name: str | None, *arguments):
    """Starts an operation on one tensor whose output exists, in place or not."""
    dense = memory.is_dense(tensor) and (output is tensor or output.is_contiguous())
    if dense and tensor.is_cpu and tensor.dtype in memory.DTYPES:
        handle = enqueue((_buffer(tensor, output),), name, *arguments)
        _handle_map[handle] = (tensor, output, None)
        return handle
    handle = with_outputs(enqueue, [tensor], [output], name, *arguments)
    return first_of(handle)


def first_of(handle: int) -> int:
    """The same handle, whose operation gives its only output instead of a list."""
    inputs, outputs, collect = _handle_map[handle]
    if collect is None:
        return kept(handle, inputs, outputs[0])
    return kept(handle, inputs, None, lambda done: collect(done)[0])


def with_new_outputs(enqueue, tensors: Tensors, *arguments) -> int:
    """Starts an operation whose outputs the core allocates, as their size is not known before."""
    if not tensors:
        raise ValueError("a grouped operation needs at least one tensor")
    sources = [rows_of(tensor) for tensor in tensors]
    reduces = enqueue is not collectives.allgather
    buffers = [memory.buffer(source, None, reduces) for source in sources]
    handle = enqueue(buffers, *arguments)

    def collect(done):
        return [memory.taken_output(done, i, t) for i, t in enumerate(sources)]

    return kept(handle, sources, None, collect)


def rows_of(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, dense. The core refuses one without rows, but sees a complex number as two."""
    if not isinstance(tensor, torch.Tensor):
        raise memory.refusal(tensor)
    if tensor.is_complex() and tensor.dim() == 0:
        raise ValueError("the tensor has no dimension: give tensor.unsqueeze(0)")
    return memory.dense(tensor)


def builds_graph(*tensors: torch.Tensor) -> bool:
    for tensor in tensors:
        if not isinstance(tensor, torch.Tensor):
            raise memory.refusal(tensor)
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


keep_out(globals())
keep_out(vars(memory))
keep_out(vars(collectives))
