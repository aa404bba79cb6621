"""Owns where each parameter lies in the flat buffers and which rank updates it.

Pure arithmetic: the same on every rank, from the names, shapes and costs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

ALIGNMENT = 16
"""Elements: tensors start at 64 bytes in float32, as vector loads and cache lines like it."""


@dataclass(frozen=True)
class Slot:
    """A parameter's place: elements offset .. offset + numel of the flat buffer."""

    name: str
    shape: tuple[int, ...]
    offset: int
    owner: int

    @property
    def numel(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """All slots, in the order of the model, and the part of the buffer that each rank owns."""

    slots: tuple[Slot, ...]
    ends: tuple[int, ...]
    """Rank r owns elements ends[r - 1] .. ends[r] (from 0 for rank 0)."""

    @property
    def numel(self) -> int:
        return self.ends[-1]

    def part(self, rank: int) -> slice:
        """The elements that `rank` owns."""
        return slice(self.ends[rank - 1] if rank else 0, self.ends[rank])


def assign_owners(costs: Sequence[float], size: int) -> list[int]:
    """The owner of each item: the dearest first, each to the rank with the least so far.

    (Graham 1969, LPT: the busiest rank has at most 4/3 of the best possible.)
    """
    loads = [0.0] * size
    owners = [0] * len(costs)
    for index in sorted(range(len(costs)), key=lambda item: (-costs[item], item)):
        owner = min(range(size), key=lambda rank: (loads[rank], rank))
        owners[index] = owner
        loads[owner] += costs[index]
    return owners


def plan_layout(
    shapes: Sequence[tuple[str, tuple[int, ...]]], costs: Sequence[float], size: int
) -> Layout:
    """Lay tensors out owner by owner, each owner's in the order given, aligned."""
    owners = assign_owners(costs, size)
    slots: list[Slot | None] = [None] * len(shapes)
    ends: list[int] = []
    offset = 0
    for rank in range(size):
        for index, (name, shape) in enumerate(shapes):
            if owners[index] == rank:
                slots[index] = Slot(name, shape, offset, rank)
                offset += -(-prod(shape) // ALIGNMENT) * ALIGNMENT
        ends.append(offset)
    return Layout(tuple(slot for slot in slots if slot is not None), tuple(ends))
