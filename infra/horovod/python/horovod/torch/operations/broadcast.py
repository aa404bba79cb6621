"""Broadcast of PyTorch tensors and its gradient."""

from __future__ import annotations

from horovod.common import collectives
from horovod.common.process_sets import global_process_set
from horovod.torch import memory
from horovod.torch.compiled import keep_out
from horovod.torch.operations.allreduce import allreduce
from horovod.torch.operations.basics import Average, rank
from horovod.torch.operations.handles import builds_graph, set_id, synchronize, with_output

import torch


def _broadcast_async(tensor, output, root_rank, name, process_set):
    return with_output(collectives.broadcast, tensor, output, name, root_rank, set_id(process_set))


def broadcast_async(tensor, root_rank, name=None, process_set=global_process_set):
    """Starts a broadcast to a new tensor. Arguments as in `broadcast`."""
    return _broadcast_async(tensor, memory.empty(tensor), root_rank, name, process_set)


def broadcast_async_(tensor, root_rank, name=None, process_set=global_process_set):
    """Starts a broadcast in place. Arguments as in `broadcast`."""
    return _broadcast_async(tensor, tensor, root_rank, name, process_set)


def broadcast_(tensor, root_rank, name=None, process_set=global_process_set):
    """Broadcast in place; returns the tensor. Arguments as in `broadcast`."""
    return synchronize(broadcast_async_(tensor, root_rank, name, process_set))


def broadcast(tensor, root_rank, name=None, process_set=global_process_set):
    """Gives the tensor of `root_rank`, which counts in the global process set, to all ranks.

    Args:
        tensor: of equal shape and type on all ranks. On the root its gradient is the average of
            the ranks' gradients, on the others zero.

    Returns:
        A new tensor of the same shape and type.
    """
    if builds_graph(tensor):
        return HorovodBroadcast.apply(tensor, root_rank, name, process_set)
    return synchronize(broadcast_async(tensor, root_rank, name, process_set))


class HorovodBroadcast(torch.autograd.Function):
    """Broadcast with its gradient."""

    @staticmethod
    def forward(ctx, tensor, root_rank, name, process_set):
        ctx.root_rank, ctx.process_set = root_rank, process_set
        return synchronize(broadcast_async(tensor, root_rank, name, process_set))

    @staticmethod
    def backward(ctx, grad_output):
        reduced = allreduce(grad_output, op=Average, process_set=ctx.process_set)
        if rank() != ctx.root_rank:
            reduced = torch.zeros_like(reduced)
        return reduced, None, None, None


keep_out(globals())
