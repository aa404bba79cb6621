"""The bytes that `ShardedOptimizer` takes on a rank, by arithmetic on its layout.

Each figure follows from the code of `hvdcore.torch.sharded`, `exchange`, `hierarchical` and
`optimizer_state`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from hvdcore.torch.buckets import Item, Layout, default_bucket_elements, plan_layout
from hvdcore.torch.topology import Hosts, Stages

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
        local_size: ranks on each host.
        hierarchical: whether hosts of several ranks add up gradients before they send them.
    """

    layout: Layout
    rank: int
    size: int
    wire_dtype: torch.dtype = torch.float32
    local_size: int = 1
    hierarchical: bool = True

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
        if columns := self._columns():
            return self._gradients_in_stages(columns)
        is_narrow = self.wire_dtype != torch.float32
        senders = self.size - (self.rank in (0, self.size - 1))
        own = self._own()
        received = self.wire_dtype.itemsize * senders * sum(own)
        sent = self.wire_dtype.itemsize * self.layout.numel if is_narrow else 0
        # The first sum has memory of its own where more than two ranks are added up, and each
        # share that came in a narrower type is widened.
        summing = (4 if self.size > 2 else 0) + (8 if is_narrow else 0)
        return received + sent + summing * max(own)

    def _columns(self) -> list[int]:
        """Elements of each bucket that this rank adds up for its host; none without such sums."""
        hosts, left = divmod(self.size, self.local_size)
        if not self.hierarchical or self.local_size == 1 or hosts < 2 or left:
            return []
        first = range(0, self.size, self.local_size)
        ranks = Hosts(tuple(tuple(range(rank, rank + self.local_size)) for rank in first))
        stages = (Stages(bucket, ranks, self.rank) for bucket in self.layout.buckets)
        return [of_bucket.column_numel(self.rank) for of_bucket in stages]

    def _gradients_in_stages(self, columns: list[int]) -> int:
        """All buckets on their way between hosts, and the largest one within the host."""
        own, item = self._own(), self.wire_dtype.itemsize
        sums = 4 * sum(columns)
        sent = item * (sum(columns) - sum(own))
        received = item * (self.size // self.local_size - 1) * sum(own)
        within = max(
            4 * (sum(bucket.splits) + (self.local_size - 2) * column)
            for bucket, column in zip(self.layout.buckets, columns, strict=True)
        )
        return sums + sent + received + within

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
        if columns := self._columns():
            # The columns of all ranks of the host as they came, and this rank's once for each.
            in_stages = item * (self.layout.numel + (self.local_size - 1) * sum(columns))
            narrow = 4 * (sum(own) + max(own)) if self.wire_dtype != torch.float32 else 0
            return in_stages + narrow
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
