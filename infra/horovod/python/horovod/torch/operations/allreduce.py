"""Allreduce of PyTorch tensors, single and grouped, and its gradient."""

from __future__ import annotations

from horovod.common import collectives
from horovod.common.process_sets import ProcessSet, global_process_set
from horovod.common.util import get_average_backwards_compatibility_fun, num_rank_is_power_2
from horovod.torch import memory
from horovod.torch.compiled import keep_out
from horovod.torch.compression import Compression
from horovod.torch.operations.basics import (
    Adasum,
    Average,
    Max,
    Min,
    Product,
    Sum,
    basics,
    mpi_enabled,
    size,
)
from horovod.torch.operations.handles import (
    builds_graph,
    set_id,
    synchronize,
    with_output,
    with_outputs,
)

import torch

handle_average_backwards_compatibility = get_average_backwards_compatibility_fun(basics)


def _checked_op(op: int, process_set: ProcessSet) -> int:
    """The reduction to do; NotImplementedError where Adasum cannot be."""
    if op != Adasum:
        return op
    if size() == 1:
        return Sum  # what Adasum is for one rank
    if process_set.process_set_id != 0:
        raise NotImplementedError("Adasum does not support non-global process sets yet.")
    if not num_rank_is_power_2(size()):
        raise NotImplementedError("Running Adasum with non-power of 2 ranks is not supported yet.")
    if not mpi_enabled():
        raise NotImplementedError("Adasum needs MPI: start by mpirun or by horovodrun --mpi.")
    return op


def _check_complex(op: int, *tensors: torch.Tensor) -> None:
    if op not in (Average, Sum) and any(tensor.is_complex() for tensor in tensors):
        raise ValueError("complex numbers are reduced by Sum and Average alone")


def _allreduce_async(tensor, output, name, op, prescale_factor, postscale_factor, process_set):
    op = _checked_op(op, process_set)
    _check_complex(op, tensor)
    return with_output(
        collectives.allreduce,
        tensor,
        output,
        name,
        op,
        prescale_factor,
        postscale_factor,
        set_id(process_set),
    )


def allreduce_async(
    tensor,
    average=None,
    name=None,
    op=None,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
):
    """Starts an allreduce; the handle's output is a new tensor. Arguments as in `allreduce`."""
    op = handle_average_backwards_compatibility(op, average)
    return _allreduce_async(
        tensor, memory.empty(tensor), name, op, prescale_factor, postscale_factor, process_set
    )


def allreduce_async_(
    tensor,
    average=None,
    name=None,
    op=None,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
):
    """Starts an allreduce in place. Arguments as in `allreduce`."""
    op = handle_average_backwards_compatibility(op, average)
    return _allreduce_async(
        tensor, tensor, name, op, prescale_factor, postscale_factor, process_set
    )


def allreduce_(
    tensor,
    average=None,
    name=None,
    op=None,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
):
    """Allreduce in place; returns the tensor. Arguments as in `allreduce`."""
    return synchronize(
        allreduce_async_(tensor, average, name, op, prescale_factor, postscale_factor, process_set)
    )


def allreduce(
    tensor,
    average=None,
    name=None,
    compression=Compression.none,
    op=None,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
):
    """Reduces a tensor of equal shape and type over the ranks; all ranks get the result.

    Args:
        tensor: what to reduce; it is not changed. Its gradient is reduced the same way.
        average: deprecated; True for op=Average, False for op=Sum.
        name: see the module.
        compression: how the tensor is sent, one of `Compression`.
        op: Average (the default), Sum, Adasum, Min, Max or Product. For bool, Sum and Max are
            "any" and Product and Min are "all".
        prescale_factor: multiplies the tensor before the reduction.
        postscale_factor: multiplies the result.
        process_set: see the module.

    Returns:
        A new tensor of the same shape and type.
    """
    op = handle_average_backwards_compatibility(op, average)
    compressed, context = compression.compress(tensor)
    arguments = (name, op, prescale_factor, postscale_factor, process_set)
    if builds_graph(compressed):
        result = HorovodAllreduce.apply(compressed, *arguments)
    else:
        result = synchronize(allreduce_async(compressed, None, *arguments))
    return compression.decompress(result, context)


class HorovodAllreduce(torch.autograd.Function):
    """Allreduce with its gradient: the same reduction of the gradients."""

    @staticmethod
    def forward(ctx, tensor, name, op, prescale_factor, postscale_factor, process_set):
        ctx.arguments = (op, prescale_factor, postscale_factor, process_set)
        return synchronize(
            allreduce_async(tensor, None, name, op, prescale_factor, postscale_factor, process_set)
        )

    @staticmethod
    def backward(ctx, grad_output):
        op, prescale_factor, postscale_factor, process_set = ctx.arguments
        _check_gradient(op)
        reduced = allreduce(
            grad_output,
            op=op,
            prescale_factor=prescale_factor,
            postscale_factor=postscale_factor,
            process_set=process_set,
        )
        return reduced, None, None, None, None, None


def _check_gradient(op: int) -> None:
    if op in (Min, Max, Product):
        raise NotImplementedError(
            "an allreduce by Min, Max or Product has no gradient here: detach its input"
        )


def _grouped_allreduce_async(
    tensors, outputs, name, op, prescale_factor, postscale_factor, process_set
):
    op = _checked_op(op, process_set)
    _check_complex(op, *tensors)
    return with_outputs(
        collectives.allreduce,
        tensors,
        outputs,
        name,
        op,
        prescale_factor,
        postscale_factor,
        set_id(process_set),
    )


def grouped_allreduce_async(
    tensors,
    average=None,
    name=None,
    op=None,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
):
    """Starts an allreduce of a list of tensors; the output is a list of new ones."""
    op = handle_average_backwards_compatibility(op, average)
    outputs = [memory.empty(tensor) for tensor in tensors]
    return _grouped_allreduce_async(
        tensors, outputs, name, op, prescale_factor, postscale_factor, process_set
    )


def grouped_allreduce_async_(
    tensors,
    average=None,
    name=None,
    op=None,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
):
    """Starts an allreduce of a list of tensors in place."""
    op = handle_average_backwards_compatibility(op, average)
    return _grouped_allreduce_async(
        tensors, tensors, name, op, prescale_factor, postscale_factor, process_set
    )


def grouped_allreduce_(
    tensors,
    average=None,
    name=None,
    op=None,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
):
    """Allreduce of a list of tensors in place; returns the list."""
    return synchronize(
        grouped_allreduce_async_(
            tensors, average, name, op, prescale_factor, postscale_factor, process_set
        )
    )


def grouped_allreduce(
    tensors,
    average=None,
    name=None,
    compression=Compression.none,
    op=None,
    prescale_factor=1.0,
    postscale_factor=1.0,
    process_set=global_process_set,
):
    """`allreduce` of a list of tensors, done together; returns a list of new tensors."""
    op = handle_average_backwards_compatibility(op, average)
    compressed = [compression.compress(tensor) for tensor in tensors]
    inputs = [tensor for tensor, _ in compressed]
    arguments = (name, op, prescale_factor, postscale_factor, process_set)
    if builds_graph(*inputs):
        results = HorovodGroupedAllreduce.apply(*arguments, *inputs)
    else:
        results = synchronize(grouped_allreduce_async(inputs, None, *arguments))
    return [
        compression.decompress(result, context)
        for result, (_, context) in zip(results, compressed, strict=True)
    ]


class HorovodGroupedAllreduce(torch.autograd.Function):
    """Grouped allreduce with its gradient."""

    @staticmethod
    def forward(ctx, name, op, prescale_factor, postscale_factor, process_set, *tensors):
        ctx.arguments = (op, prescale_factor, postscale_factor, process_set)
        handle = grouped_allreduce_async(
            list(tensors), None, name, op, prescale_factor, postscale_factor, process_set
        )
        return tuple(synchronize(handle))

    @staticmethod
    def backward(ctx, *grad_output):
        op, prescale_factor, postscale_factor, process_set = ctx.arguments
        _check_gradient(op)
        reduced = grouped_allreduce(
            list(grad_output),
            op=op,
            prescale_factor=prescale_factor,
            postscale_factor=postscale_factor,
            process_set=process_set,
        )
        return (None, None, None, None, None, *reduced)


keep_out(globals())
