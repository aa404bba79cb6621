"""Copies of tensors in the host's memory, made into the same memory again and again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["copy_to_host"]


@torch.no_grad()
def copy_to_host(tensors: Mapping[str, Tensor], copies: dict[str, Tensor]) -> None:
    """Copy tensors to memory that a call before this one made, or makes now.

    Args:
        tensors: on any device, each of the same shape and type at each call.
        copies: name to the copy, which is overwritten; contiguous. Of tensors on a GPU, pinned.
    """
    on_gpu = False
    for name, tensor in tensors.items():
        if name not in copies:
            copies[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        copies[name].copy_(tensor, non_blocking=tensor.is_cuda)
        on_gpu = on_gpu or tensor.is_cuda
    if on_gpu:
        torch.cuda.current_stream().synchronize()
