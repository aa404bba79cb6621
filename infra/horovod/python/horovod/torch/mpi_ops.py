"""Horovod's operations on PyTorch tensors: the public functions, in every form.

The functions and their arguments are those of horovod/torch/mpi_ops.py of Horovod 0.28.1. Common to
all of them:

    tensor(s): on the CPU or on an NVIDIA GPU, on all ranks alike, of a type in `memory.DTYPES`, of
        any layout in memory; results are in C order and on the same device. Grouped functions take
        a list of tensors of one device, which are done together. Results on a GPU are ordered in
        the stream that is current when they are given (see `horovod.torch.gpu`).
    name: identifies the operation across ranks. Without one the operations of a kind are counted,
        and all ranks must call them in the same order.
    process_set: the ranks that take part; all of them must call the function.

A function whose name ends in `async` or `async_` returns a handle for `poll` and `synchronize`; one
that ends in `_` works in place. Until an operation is done its tensors must not be changed.
`ValueError` is raised for arguments that cannot be; `HorovodInternalError`, a RuntimeError, when
ranks disagree on an operation or communication fails.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from horovod.common import collectives
from horovod.common.basics import HorovodBasics as _HorovodBasics
from horovod.common.exceptions import HorovodInternalError
from horovod.common.process_sets import ProcessSet, global_process_set
from horovod.common.process_sets import _setup as _setup_process_sets
from horovod.common.process_sets import add_process_set as add_process_set
from horovod.common.process_sets import remove_process_set as remove_process_set
from horovod.common.util import get_average_backwards_compatibility_fun, num_rank_is_power_2
from horovod.torch import gpu, memory
from horovod.torch.compiled import keep_out
from horovod.torch.compression import Compression

import torch

_basics = _HorovodBasics()

is_initialized = _basics.is_initialized
start_timeline = _basics.start_timeline
stop_timeline = _basics.stop_timeline
size = _basics.size
local_size = _basics.local_size
cross_size = _basics.cross_size
rank = _basics.rank
local_rank = _basics.local_rank
cross_rank = _basics.cross_rank
mpi_threads_supported = _basics.mpi_threads_supported
mpi_enabled = _basics.mpi_enabled
mpi_built = _basics.mpi_built
gloo_enabled = _basics.gloo_enabled
gloo_built = _basics.gloo_built
nccl_built = _basics.nccl_built
ddl_built = _basics.ddl_built
ccl_built = _basics.ccl_built
cuda_built = _basics.cuda_built
rocm_built = _basics.rocm_built
is_homogeneous = _basics.is_homogeneous

Average = _basics.Average
Sum = _basics.Sum
Adasum = _basics.Adasum
AdaSum = Adasum  # so it is called in upstream's user guide
Min = _basics.Min
Max = _basics.Max
Product = _basics.Product

handle_average_backwards_compatibility = get_average_backwards_compatibility_fun(_basics)

_setup_process_sets(_basics)

_buffer = memory.buffer

_Tensors = Sequence[torch.Tensor]
_Collect = Callable[[int], Any]

# What an operation under way needs: its inputs, which must not be freed before it is done, its
# output, and, where that is made afterwards, the function that makes it of the handle.
_handle_map: dict[int, tuple[Any, Any, _Collect | None]] = {}

_starts = 0
"""How often Horovod was started in this process; names are counted anew after each start."""


def init(*args, **kwargs):
    """Starts Horovod; see `horovod.common.basics.HorovodBasics.init`."""
    global _starts
    if not _basics.is_initialized():
        for handle in _handle_map:
            collectives.release(handle)
        _handle_map.clear()
        _starts += 1
    _basics.init(*args, **kwargs)
    _setup_process_sets(_basics)


def shutdown(*args, **kwargs):
    """Stops Horovod. Operations under way fail; `init` may start it again."""
    return _basics.shutdown(*args, **kwargs)


# ---- Handles


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


def _id(process_set: ProcessSet) -> int:
    process_set_id = process_set.process_set_id
    if process_set_id is None:
        raise ValueError(
            f"{process_set} is not registered: give it to hvd.init(process_sets=...) or to"
            " hvd.add_process_set, and do not use it after its removal or a restart of Horovod"
        )
    return process_set_id


def _kept(handle: int, inputs: Any, output: Any, collect: _Collect | None = None) -> int:
    _handle_map[handle] = (inputs, output, collect)
    return handle


def _with_outputs(enqueue, tensors: _Tensors, outputs: _Tensors, name: str | None, *arguments):
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
        return _kept(handle, sources, outputs)

    def collect(_handle):
        memory.copy_back(outputs, targets)
        return outputs

    return _kept(handle, (sources, targets), outputs, collect)


def _with_output(enqueue, tensor: torch.Tensor, output: torch.Tensor, name: str | None, *arguments):
    """Starts an operation on one tensor whose output exists, in place or not."""
    dense = memory.is_dense(tensor) and (output is tensor or output.is_contiguous())
    if dense and tensor.is_cpu and tensor.dtype in memory.DTYPES:
        handle = enqueue((_buffer(tensor, output),), name, *arguments)
        _handle_map[handle] = (tensor, output, None)
        return handle
    handle = _with_outputs(enqueue, [tensor], [output], name, *arguments)
    return _first_of(handle)


def _first_of(handle: int) -> int:
    """The same handle, whose operation gives its only output instead of a list."""
    inputs, outputs, collect = _handle_map[handle]
    if collect is None:
        return _kept(handle, inputs, outputs[0])
    return _kept(handle, inputs, None, lambda done: collect(done)[0])


def _with_new_outputs(enqueue, tensors: _Tensors, *arguments) -> int:
    """Starts an operation whose outputs the core allocates, as their size is not known before."""
    if not tensors:
        raise ValueError("a grouped operation needs at least one tensor")
    sources = [_of_rows(tensor) for tensor in tensors]
    reduces = enqueue is not collectives.allgather
    buffers = [memory.buffer(source, None, reduces) for source in sources]
    handle = enqueue(buffers, *arguments)

    def collect(done):
        return [memory.taken_output(done, i, t) for i, t in enumerate(sources)]

    return _kept(handle, sources, None, collect)


def _of_rows(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, dense. The core refuses one without rows, but sees a complex number as two."""
    if not isinstance(tensor, torch.Tensor):
        raise memory.refusal(tensor)
    if tensor.is_complex() and tensor.dim() == 0:
        raise ValueError("the tensor has no dimension: give tensor.unsqueeze(0)")
    return memory.dense(tensor)


def _builds_graph(*tensors: torch.Tensor) -> bool:
    for tensor in tensors:
        if not isinstance(tensor, torch.Tensor):
            raise memory.refusal(tensor)
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


# ---- Allreduce


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
    return _with_output(
        collectives.allreduce,
        tensor,
        output,
        name,
        op,
        prescale_factor,
        postscale_factor,
        _id(process_set),
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
    if _builds_graph(compressed):
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
    return _with_outputs(
        collectives.allreduce,
        tensors,
        outputs,
        name,
        op,
        prescale_factor,
        postscale_factor,
        _id(process_set),
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
    if _builds_graph(*inputs):
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


def sparse_allreduce_async(tensor, name, op, process_set=global_process_set):
    """Starts to sum or average sparse COO tensors, by gathering their indices and values.

    Args:
        tensor: of equal shape on all ranks, with any number of values, none too.
        op: Sum or Average.

    Returns:
        A function without arguments that waits and returns the sparse result, not coalesced;
        `synchronize` takes it too.
    """
    if op not in (Sum, Average):
        raise ValueError("a sparse allreduce knows Sum and Average alone; use tensor.to_dense()")
    # Gathering goes along the first dimension, so each index becomes a row.
    indices = tensor._indices().transpose(0, 1).contiguous()
    gathered_indices = allgather_async(indices, f"{name}.indices", process_set)
    gathered_values = allgather_async(tensor._values(), f"{name}.values", process_set)

    def wait():
        values = synchronize(gathered_values)
        positions = synchronize(gathered_indices).transpose(0, 1)
        if op == Average:
            values = values / process_set.size()
        return torch.sparse_coo_tensor(
            positions, values, tensor.size(), dtype=tensor.dtype, check_invariants=False
        )

    return wait


# ---- Allgather


def allgather_async(tensor, name=None, process_set=global_process_set):
    """Starts an allgather. Arguments as in `allgather`."""
    return _first_of(grouped_allgather_async([tensor], name, process_set))


def allgather(tensor, name=None, process_set=global_process_set):
    """Concatenates the ranks' tensors along the first dimension, in the order of ranks.

    Args:
        tensor: of at least one dimension; only the first may differ between ranks. Its gradient
            is the average of the ranks' gradients of its part of the result.

    Returns:
        A new tensor, the same on all ranks.
    """
    if _builds_graph(tensor):
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


def _rows_of_this_rank(grads: _Tensors, rows: list[int], process_set: ProcessSet) -> _Tensors:
    """The average over ranks of gradients of gathered tensors, cut to what this rank gave."""
    reduced = grouped_allreduce(list(grads), op=Average, process_set=process_set)
    counts = allgather(torch.tensor([rows], dtype=torch.int64), process_set=process_set)
    starts = counts[: process_set.rank()].sum(dim=0).tolist()
    return [
        t.narrow(0, start, count) for t, start, count in zip(reduced, starts, rows, strict=True)
    ]


def grouped_allgather_async(tensors, name=None, process_set=global_process_set):
    """Starts an allgather of each tensor of a list."""
    return _with_new_outputs(collectives.allgather, list(tensors), name, _id(process_set))


def grouped_allgather(tensors, name=None, process_set=global_process_set):
    """`allgather` of a list of tensors, done together; returns a list of new tensors."""
    if _builds_graph(*tensors):
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


# ---- Broadcast


def _broadcast_async(tensor, output, root_rank, name, process_set):
    return _with_output(collectives.broadcast, tensor, output, name, root_rank, _id(process_set))


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
    if _builds_graph(tensor):
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


# ---- Alltoall


def alltoall_async(tensor, splits=None, name=None, process_set=global_process_set):
    """Starts an alltoall; the output is a pair, also without `splits`. As in `alltoall`."""
    source = _of_rows(tensor)
    numbers = _split_numbers(splits)
    buffers = (memory.buffer(source, reduces=False),)
    handle = collectives.alltoall(buffers, numbers, name, _id(process_set))
    splits_type = splits.dtype if isinstance(splits, torch.Tensor) else torch.int32

    def collect(done):
        received = torch.tensor(collectives.received_splits(done, 0), dtype=splits_type)
        return memory.taken_output(done, 0, source), received

    return _kept(handle, source, None, collect)


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
    if _builds_graph(tensor):
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


# ---- Reducescatter


def reducescatter_async(
    tensor,
    name=None,
    op=Average,
    process_set=global_process_set,
    prescale_factor=1.0,
    postscale_factor=1.0,
):
    """Starts a reducescatter. Arguments as in `reducescatter`."""
    return _first_of(
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
    if _builds_graph(compressed):
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
    return _with_new_outputs(
        collectives.reducescatter,
        list(tensors),
        name,
        op,
        prescale_factor,
        postscale_factor,
        _id(process_set),
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
    if _builds_graph(*inputs):
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


# ---- Join and barrier


def join(device=-1) -> int:
    """Says that this rank has no more data and waits until all ranks have said so.

    Meanwhile it takes part in the others' allreduces with zeros. `device` has no effect.

    Returns:
        The rank that joined last.
    """
    handle = collectives.join(-1, 0)
    collectives.wait(handle)
    data, _ = collectives.output(handle, 0)
    last = ctypes.c_int32.from_address(data).value
    collectives.release(handle)
    return last


def barrier(process_set=global_process_set):
    """Waits until all ranks of the process set have called it."""
    collectives.finish(collectives.barrier(_id(process_set)))


keep_out(globals())
keep_out(vars(memory))
keep_out(vars(collectives))
