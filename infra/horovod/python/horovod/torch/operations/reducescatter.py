"""Reducescatter of PyTorch tensors, single and grouped, and its gradient."""

from __future__ import annotations

from horovod.common import collectives
from horovod.common.process_sets import global_process_set
from horovod.torch.compiled import keep_out
from horovod.torch.compression import Compression
from horovod.torch.operations.allgather import allgather, grouped_allgather
from horovod.torch.operations.basics import Average, Sum
from horovod.torch.operations.handles import (
    builds_graph,
    first_of,
    set_id,
    synchronize,
    with_new_outputs,
)

import torch


def reducescatter_async(
    tensor,
    name=None,
    op=Average,
    process_set=global_process_set,
    prescale_factor=1.0,
    postscale_factor=1.0,
):
    """Starts a reducescatter. Arguments as in `reducescatter`."""
    return first_of(
        grouped_reducescatter_async(
            [tensor], name, op, process_set, prescale_factor, postscale_factor
        )
    )


def reducescatter(
    tensor,
    name=None,
    compression=Compression.none,
    op=Average,
    process_set=global_process_set,
    prescale_factor=1.0,
    postscale_factor=1.0,
):
    """Reduces a tensor over the ranks and leaves to each rank its part of the first dimension.

    Args:
        tensor: of at least one dimension, of equal shape and type on all ranks.
        compression: how the tensor is sent, one of `Compression`.
        op: Average (the default) or Sum.
        prescale_factor: multiplies the tensor before the reduction.
        postscale_factor: multiplies the result.

    Returns:
        A new tensor with this rank's rows of the result; the first ranks get one row more if the
        number of rows is no multiple of the number of ranks.
    """
    compressed, context = compression.compress(tensor)
    arguments = (name, op, process_set, prescale_factor, postscale_factor)
    if builds_graph(compressed):
        result = HorovodReducescatter.apply(compressed, *arguments)
    else:
        result = synchronize(reducescatter_async(compressed, *arguments))
    return compression.decompress(result, context)


class HorovodReducescatter(torch.autograd.Function):
    """Reducescatter with its gradient: the gathered gradients, scaled as the reduction was."""

    @staticmethod
    def forward(ctx, tensor, name, op, process_set, prescale_factor, postscale_factor):
        ctx.process_set = process_set
        ctx.factor = _gradient_factor(op, process_set, prescale_factor, postscale_factor)
        return synchronize(
            reducescatter_async(tensor, name, op, process_set, prescale_factor, postscale_factor)
        )

    @staticmethod
    def backward(ctx, grad_output):
        gradient = allgather(grad_output * ctx.factor, process_set=ctx.process_set)
        return gradient, None, None, None, None, None


def _gradient_factor(op, process_set, prescale_factor, postscale_factor) -> float:
    of_op = process_set.size() if op == Sum else 1
    return of_op * prescale_factor * postscale_factor


def grouped_reducescatter_async(
    tensors,
    name=None,
    op=Average,
    process_set=global_process_set,
    prescale_factor=1.0,
    postscale_factor=1.0,
):
    """Starts a reducescatter of each tensor of a list."""
    if op not in (Average, Sum):
        raise NotImplementedError("reducescatter knows Average and Sum alone")
    return with_new_outputs(
        collectives.reducescatter,
        list(tensors),
        name,
        op,
        prescale_factor,
        postscale_factor,
        set_id(process_set),
    )


def grouped_reducescatter(
    tensors,
    name=None,
    compression=Compression.none,
    op=Average,
    process_set=global_process_set,
    prescale_factor=1.0,
    postscale_factor=1.0,
):
    """`reducescatter` of a list of tensors, done together; returns a list of new tensors."""
    compressed = [compression.compress(tensor) for tensor in tensors]
    inputs = [tensor for tensor, _ in compressed]
    arguments = (name, op, process_set, prescale_factor, postscale_factor)
    if builds_graph(*inputs):
        results = HorovodGroupedReducescatter.apply(*arguments, *inputs)
    else:
        results = synchronize(grouped_reducescatter_async(inputs, *arguments))
    return [
        compression.decompress(result, context)
        for result, (_, context) in zip(results, compressed, strict=True)
    ]


class HorovodGroupedReducescatter(torch.autograd.Function):
    """Grouped reducescatter with its gradient."""

    @staticmethod
    def forward(ctx, name, op, process_set, prescale_factor, postscale_factor, *tensors):
        ctx.process_set = process_set
        ctx.factor = _gradient_factor(op, process_set, prescale_factor, postscale_factor)
        handle = grouped_reducescatter_async(
            list(tensors), name, op, process_set, prescale_factor, postscale_factor
        )
        return tuple(synchronize(handle))

    @staticmethod
    def backward(ctx, *grad_output):
        scaled = [gradient * ctx.factor for gradient in grad_output]
        gathered = grouped_allgather(scaled, process_set=ctx.process_set)
        return (None, None, None, None, None, *gathered)


keep_out(globals())
