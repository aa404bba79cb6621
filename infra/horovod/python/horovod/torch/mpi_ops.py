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

from horovod.common.process_sets import ProcessSet as ProcessSet
from horovod.common.process_sets import add_process_set as add_process_set
from horovod.common.process_sets import global_process_set
from horovod.common.process_sets import remove_process_set as remove_process_set
from horovod.torch.operations.allgather import (
    HorovodAllgather,
    HorovodGroupedAllgather,
    allgather,
    allgather_async,
    grouped_allgather,
    grouped_allgather_async,
)
from horovod.torch.operations.allreduce import (
    HorovodAllreduce,
    HorovodGroupedAllreduce,
    allreduce,
    allreduce_,
    allreduce_async,
    allreduce_async_,
    grouped_allreduce,
    grouped_allreduce_,
    grouped_allreduce_async,
    grouped_allreduce_async_,
    handle_average_backwards_compatibility,
)
from horovod.torch.operations.alltoall import HorovodAlltoall, alltoall, alltoall_async
from horovod.torch.operations.basics import (
    AdaSum,
    Adasum,
    Average,
    Max,
    Min,
    Product,
    Sum,
    ccl_built,
    cross_rank,
    cross_size,
    cuda_built,
    ddl_built,
    gloo_built,
    gloo_enabled,
    init,
    is_homogeneous,
    is_initialized,
    local_rank,
    local_size,
    mpi_built,
    mpi_enabled,
    mpi_threads_supported,
    nccl_built,
    rank,
    rocm_built,
    shutdown,
    size,
    start_timeline,
    stop_timeline,
)
from horovod.torch.operations.broadcast import (
    HorovodBroadcast,
    broadcast,
    broadcast_,
    broadcast_async,
    broadcast_async_,
)
from horovod.torch.operations.handles import poll, synchronize
from horovod.torch.operations.join import barrier, join
from horovod.torch.operations.reducescatter import (
    HorovodGroupedReducescatter,
    HorovodReducescatter,
    grouped_reducescatter,
    grouped_reducescatter_async,
    reducescatter,
    reducescatter_async,
)
from horovod.torch.operations.sparse import sparse_allreduce_async

__all__ = [
    "AdaSum",
    "Adasum",
    "Average",
    "HorovodAllgather",
    "HorovodAllreduce",
    "HorovodAlltoall",
    "HorovodBroadcast",
    "HorovodGroupedAllgather",
    "HorovodGroupedAllreduce",
    "HorovodGroupedReducescatter",
    "HorovodReducescatter",
    "Max",
    "Min",
    "ProcessSet",
    "Product",
    "Sum",
    "add_process_set",
    "allgather",
    "allgather_async",
    "allreduce",
    "allreduce_",
    "allreduce_async",
    "allreduce_async_",
    "alltoall",
    "alltoall_async",
    "barrier",
    "broadcast",
    "broadcast_",
    "broadcast_async",
    "broadcast_async_",
    "ccl_built",
    "cross_rank",
    "cross_size",
    "cuda_built",
    "ddl_built",
    "global_process_set",
    "gloo_built",
    "gloo_enabled",
    "grouped_allgather",
    "grouped_allgather_async",
    "grouped_allreduce",
    "grouped_allreduce_",
    "grouped_allreduce_async",
    "grouped_allreduce_async_",
    "grouped_reducescatter",
    "grouped_reducescatter_async",
    "handle_average_backwards_compatibility",
    "init",
    "is_homogeneous",
    "is_initialized",
    "join",
    "local_rank",
    "local_size",
    "mpi_built",
    "mpi_enabled",
    "mpi_threads_supported",
    "nccl_built",
    "poll",
    "rank",
    "reducescatter",
    "reducescatter_async",
    "remove_process_set",
    "rocm_built",
    "shutdown",
    "size",
    "sparse_allreduce_async",
    "start_timeline",
    "stop_timeline",
    "synchronize",
]
