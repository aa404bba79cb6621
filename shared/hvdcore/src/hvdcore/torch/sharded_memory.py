"""The bytes that `ShardedOptimizer` takes on a rank, by arithmetic on its layout.

Each figure follows from the code of `hvdcore.torch.sharded`, `exchange` and `optimizer_state`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from hvdcore.torch.buckets import Item, Layout, default_bucket_elements, plan_layout

__all__ = ["ShardedMemory", "layout_of"]


def layout_of(items: Sequence[Item], size: int, local_size: int) -> Layout:
    """The layout that `ShardedOptimizer` begins with on `size` ranks, `local_size` on each host."""
    if local_size == size:
        items = [replace(item, elementwise=False) for item in items]
    numel = sum(item.numel for item in items)
    return plan_layout(items, size, None, default_bucket_elements(numel, size, local_size))


@dataclass(frozen=True)
class ShardedMemory:
    """The bytes of one rank.

    Args:
        rank, size: of the job.
        wire_dtype: as `ShardedOptimizer` takes it.
    """

    layout: Layout
    rank: int
    size: int
    wire_dtype: torch.dtype = torch.float32

    @property
    def flat(self) -> int:
        """The parameters; the gradients take as much again."""
        return 4 * self.layout.numel

    @property
    def own_elements(self) -> int:
        """Elements that this rank updates."""
        return sum(self._own())

    def _own(self) -> list[int]:
        """Elements that this rank owns of each bucket."""
        parts = [bucket.part(self.rank) for bucket in self.layout.buckets]
        return [part.stop - part.start for part in parts]

    @property
    def gradient_exchange(self) -> int:
        """Received gradients of all buckets, and what summing the largest one needs."""
        if self.size == 1:
            return 0
        is_narrow = self.wire_dtype != torch.float32
        senders = self.size - (self.rank in (0, self.size - 1))
        own = self._own()
        received = self.wire_dtype.itemsize * senders * sum(own)
        sent = self.wire_dtype.itemsize * self.layout.numel if is_narrow else 0
        # The first sum has memory of its own where more than two ranks are added up, and each
        # share that came in a narrower type is widened.
        summing = (4 if self.size > 2 else 0) + (8 if is_narrow else 0)
        return received + sent + summing * max(own)

    @property
    def gradient_norm(self) -> int:
        """The largest bucket's own gradients in float64, of which PyTorch takes the norm."""
        return 8 * max(self._own())

    @property
    def parameter_exchange(self) -> int:
        """Received parameters or updates, on their way until the next forward pass."""
        if self.size == 1:
            return 0
        own, item = self._own(), self.wire_dtype.itemsize
        total = self.layout.numel if self.size > 2 else self.layout.numel - sum(own)
        if self.wire_dtype == torch.float32:
            return item * total
        return item * (total + sum(own)) + 4 * (sum(own) + max(own))

    @property
    def second_layout(self) -> int:
        """The buffers anew in the first step, in the order in which gradients came."""
        return 2 * self.flat if self.size > 1 else 0

    def pieces(self) -> list[tuple[str, nn.Parameter]]:
        """What this rank updates, with gradients, as `make_optimizer` takes it."""
        found = []
        for slot in self.layout.slots:
            rows = self.layout.rows_of(slot, self.rank)
            if rows is not None:
                shape = (len(rows), *slot.shape[1:]) if slot.shape else ()
                parameter = nn.Parameter(torch.empty(shape))
                parameter.grad = torch.empty(shape)
                found.append((slot.name, parameter))
        return found
