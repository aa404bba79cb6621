"""Allreduce of sparse PyTorch tensors."""

from __future__ import annotations

from horovod.common.process_sets import global_process_set
from horovod.torch.compiled import keep_out
from horovod.torch.operations.allgather import allgather_async
from horovod.torch.operations.basics import Average, Sum
from horovod.torch.operations.handles import synchronize

import torch


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


keep_out(globals())
