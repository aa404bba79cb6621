"""Allgather of PyTorch tensors, single and grouped, and its gradient."""

from __future__ import annotations

from horovod.common import collectives
from horovod.common.process_sets import ProcessSet, global_process_set
from horovod.torch.compiled import keep_out
from horovod.torch.operations.allreduce import grouped_allreduce
from horovod.torch.operations.basics import Average
from horovod.torch.operations.handles import (
    Tensors,
    builds_graph,
    first_of,
    set_id,
    synchronize,
    with_new_outputs,
)

import torch


def allgather_async(tensor, name=None, process_set=global_process_set):
    """Starts an allgather. Arguments as in `allgather`."""
    return first_of(grouped_allgather_async([tensor], name, process_set))


def allgather(tensor, name=None, process_set=global_process_set):
    """Concatenates the ranks' tensors along the first dimension, in the order of ranks.

    Args:
        tensor: of at least one dimension; only the first may differ between ranks. Its gradient
            is the average of the ranks' gradients of its part of the result.

    Returns:
        A new tensor, the same on all ranks.
    """
    if builds_graph(tensor):
        return HorovodAllgather.apply(tensor, name, process_set)
    return synchronize(allgather_async(tensor, name, process_set))


class HorovodAllgather(torch.autograd.Function):
    """Allgather with its gradient: the average of the ranks' gradients, of this rank's rows."""

    @staticmethod
    def forward(ctx, tensor, name, process_set):
        ctx.rows, ctx.process_set = tensor.shape[0], process_set
        return synchronize(allgather_async(tensor, name, process_set))

    @staticmethod
    def backward(ctx, grad_output):
        (gradient,) = _rows_of_this_rank([grad_output], [ctx.rows], ctx.process_set)
        return gradient, None, None


def _rows_of_this_rank(grads: Tensors, rows: list[int], process_set: ProcessSet) -> Tensors:
    """The average over ranks of gradients of gathered tensors, cut to what this rank gave."""
    reduced = grouped_allreduce(list(grads), op=Average, process_set=process_set)
    counts = allgather(torch.tensor([rows], dtype=torch.int64), process_set=process_set)
    starts = counts[: process_set.rank()].sum(dim=0).tolist()
    return [
        t.narrow(0, start, count) for t, start, count in zip(reduced, starts, rows, strict=True)
    ]


def grouped_allgather_async(tensors, name=None, process_set=global_process_set):
    """Starts an allgather of each tensor of a list."""
    return with_new_outputs(collectives.allgather, list(tensors), name, set_id(process_set))


def grouped_allgather(tensors, name=None, process_set=global_process_set):
    """`allgather` of a list of tensors, done together; returns a list of new tensors."""
    if builds_graph(*tensors):
        return list(HorovodGroupedAllgather.apply(name, process_set, *tensors))
    return synchronize(grouped_allgather_async(tensors, name, process_set))


class HorovodGroupedAllgather(torch.autograd.Function):
    """Grouped allgather with its gradient."""

    @staticmethod
    def forward(ctx, name, process_set, *tensors):
        ctx.rows, ctx.process_set = [tensor.shape[0] for tensor in tensors], process_set
        return tuple(synchronize(grouped_allgather_async(tensors, name, process_set)))

    @staticmethod
    def backward(ctx, *grad_output):
        return (None, None, *_rows_of_this_rank(grad_output, ctx.rows, ctx.process_set))


keep_out(globals())
