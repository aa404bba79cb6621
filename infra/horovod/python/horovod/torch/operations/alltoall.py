"""Alltoall of PyTorch tensors and its gradient."""

from __future__ import annotations

from horovod.common import collectives
from horovod.common.process_sets import global_process_set
from horovod.torch import memory
from horovod.torch.compiled import keep_out
from horovod.torch.operations.handles import builds_graph, kept, rows_of, set_id, synchronize

import torch


def alltoall_async(tensor, splits=None, name=None, process_set=global_process_set):
    """Starts an alltoall; the output is a pair, also without `splits`. As in `alltoall`."""
    source = rows_of(tensor)
    numbers = _split_numbers(splits)
    buffers = (memory.buffer(source, reduces=False),)
    handle = collectives.alltoall(buffers, numbers, name, set_id(process_set))
    splits_type = splits.dtype if isinstance(splits, torch.Tensor) else torch.int32

    def collect(done):
        received = torch.tensor(collectives.received_splits(done, 0), dtype=splits_type)
        return memory.taken_output(done, 0, source), received

    return kept(handle, source, None, collect)


def _split_numbers(splits) -> list[int] | None:
    if splits is None:
        return None
    if isinstance(splits, torch.Tensor):
        if splits.is_floating_point() or splits.is_complex() or splits.dtype is torch.bool:
            raise ValueError(f"alltoall's splits must be integers, not {splits.dtype}")
        splits = splits.flatten().tolist()
    return [int(number) for number in splits] or None


def alltoall(tensor, splits=None, name=None, process_set=global_process_set):
    """Sends rows of the tensor to each rank and returns the rows received, in the order of ranks.

    Args:
        tensor: of at least one dimension; only the first may differ between ranks.
        splits: how many rows go to each rank, as integers; equal numbers without it.

    Returns:
        The rows received; with `splits` a pair of them and how many came from each rank.
    """
    if builds_graph(tensor):
        return HorovodAlltoall.apply(tensor, splits, name, process_set)
    output, received = synchronize(alltoall_async(tensor, splits, name, process_set))
    return output if splits is None else (output, received)


class HorovodAlltoall(torch.autograd.Function):
    """Alltoall with its gradient: the gradients' rows go back the way they came."""

    @staticmethod
    def forward(ctx, tensor, splits, name, process_set):
        output, received = synchronize(alltoall_async(tensor, splits, name, process_set))
        ctx.received, ctx.process_set = received, process_set
        if splits is None:
            return output
        ctx.mark_non_differentiable(received)
        return output, received

    @staticmethod
    def backward(ctx, grad_output, *_of_splits):
        gradient, _ = alltoall(grad_output, splits=ctx.received, process_set=ctx.process_set)
        return gradient, None, None, None


keep_out(globals())
