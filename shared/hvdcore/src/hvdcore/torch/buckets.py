"""Where each parameter lies in the flat buffers, in which bucket it is sent, and who updates it.

A bucket is a range of both flat buffers that is sent in one collective; each rank owns one part of
it. Its tensors either have one owner each, or lie end to end and are split between ranks by rows.

The layout follows from names, shapes, costs and order alone, so it is the same on every rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd, prod

import torch
from torch import Tensor, nn

ALIGNMENT = 16
"""Elements: tensors start at 64 bytes in float32, as vector loads and cache lines like it."""
BUCKET_ELEMENTS = 1 << 20
"""Least size of a bucket, 4 MB in float32: about one of GPT-2's larger matrices."""
MAX_BUCKET_ELEMENTS = 1 << 28
"""MPI counts bytes in 32 bits."""
PART_ELEMENTS = 1 << 16
"""Least size of a rank's part, so that many ranks do not send each other tiny messages."""


def default_bucket_elements(numel: int, size: int, local_size: int) -> int:
    """Elements of a bucket of a model of `numel` trainable parameters, on `size` ranks.

    Where all ranks share a host one bucket is fastest: copying a step's gradients in memory takes
    milliseconds, and copying them during the backward pass takes a core from it.
    """
    if local_size == size:
        return min(2 * numel, MAX_BUCKET_ELEMENTS)
    return max(BUCKET_ELEMENTS, size * PART_ELEMENTS)


@dataclass(frozen=True)
class Item:
    """A parameter to be placed."""

    name: str
    shape: tuple[int, ...]
    cost: float
    """Of its update, in any unit."""
    elementwise: bool = False
    """Whether ranks may share its rows."""

    @property
    def numel(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Slot:
    """A parameter's place: elements offset .. offset + numel of the flat buffers."""

    name: str
    shape: tuple[int, ...]
    offset: int
    bucket: int

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def row_numel(self) -> int:
        """Elements of one of its rows (of all of it, if it has no dimension)."""
        return prod(self.shape[1:])


@dataclass(frozen=True)
class Bucket:
    """A range of the flat buffers: rank r owns elements ends[r - 1] .. ends[r] (from `start`)."""

    start: int
    ends: tuple[int, ...]

    @property
    def all(self) -> slice:
        return slice(self.start, self.ends[-1])

    def part(self, rank: int) -> slice:
        """The elements that `rank` owns."""
        return slice(self.ends[rank - 1] if rank else self.start, self.ends[rank])

    @property
    def splits(self) -> list[int]:
        """Elements of each rank's part."""
        return [self.part(r).stop - self.part(r).start for r in range(len(self.ends))]


@dataclass(frozen=True)
class Layout:
    """All slots in the order of the model, and the buckets in the order in which they are sent."""

    slots: tuple[Slot, ...]
    buckets: tuple[Bucket, ...]

    @property
    def numel(self) -> int:
        return self.buckets[-1].ends[-1]

    def rows_of(self, slot: Slot, rank: int) -> range | None:
        """The rows of a parameter that `rank` updates; None if it has no part in it."""
        part = self.buckets[slot.bucket].part(rank)
        begin = max(part.start, slot.offset) - slot.offset
        end = min(part.stop, slot.offset + slot.numel) - slot.offset
        row = slot.row_numel
        return range(begin // row, end // row) if begin < end else None


def assign_owners(costs: Sequence[float], size: int, loads: list[float] | None = None) -> list[int]:
    """The owner of each item: the dearest first, each to the rank with the least so far.

    (Graham 1969, LPT: the busiest rank has at most 4/3 of the best possible.)

    Args:
        loads: of each rank before; grows by what it gets.
    """
    loads = [0.0] * size if loads is None else loads
    owners = [0] * len(costs)
    for index in sorted(range(len(costs)), key=lambda item: (-costs[item], item)):
        owner = min(range(size), key=lambda rank: (loads[rank], rank))
        owners[index] = owner
        loads[owner] += costs[index]
    return owners


def plan_layout(
    items: Sequence[Item],
    size: int,
    order: Sequence[int] | None = None,
    bucket_elements: int = BUCKET_ELEMENTS,
) -> Layout:
    """Put items into buckets in the order in which their gradients become ready.

    Args:
        order: indices of the items; the last first by default, as a backward pass mostly does.
        bucket_elements: a bucket is closed when it has so many.
    """
    order = range(len(items) - 1, -1, -1) if order is None else order
    places: list[tuple[int, int]] = [(0, 0)] * len(items)
    buckets: list[Bucket] = []
    loads = [0.0] * size
    for group in _groups(items, order, size, bucket_elements):
        start = buckets[-1].ends[-1] if buckets else 0
        if items[group[0]].elementwise:
            offsets, ends = _end_to_end(items, group, size, start)
        else:
            offsets, ends = _owner_by_owner(items, group, size, start, loads)
        for index, offset in zip(group, offsets, strict=True):
            places[index] = (offset, len(buckets))
        buckets.append(Bucket(start, ends))
    slots = (Slot(i.name, i.shape, *place) for i, place in zip(items, places, strict=True))
    return Layout(tuple(slots), tuple(buckets))


def _groups(
    items: Sequence[Item], order: Sequence[int], size: int, wanted: int
) -> Iterator[list[int]]:
    """Indices of each bucket as it fills; elementwise items have buckets of their own.

    What is ready does not wait for an item that fills a bucket by itself: a tied embedding's
    gradient is complete at the very end of the backward pass, and its rows are read first.
    """
    filling: dict[bool, list[int]] = {True: [], False: []}
    for index in order:
        item = items[index]
        group = filling[item.elementwise]
        if group and item.elementwise and _padded(item.numel) >= wanted:
            yield list(group)
            group.clear()
        group.append(index)
        if _is_full(items, group, size, wanted):
            yield list(group)
            group.clear()
    yield from (group for group in filling.values() if group)


def _is_full(items: Sequence[Item], group: Sequence[int], size: int, wanted: int) -> bool:
    """Tensors of one owner also need to be enough for no rank's part to exceed twice the mean: a
    collective takes as long as its largest part."""
    total = sum(_padded(items[index].numel) for index in group)
    if total < wanted or items[group[0]].elementwise:
        return total >= wanted
    parts = [0.0] * size
    assign_owners([float(items[index].numel) for index in group], size, parts)
    return size == 1 or max(parts) <= 2 * total / size


def _padded(numel: int) -> int:
    return -(-numel // ALIGNMENT) * ALIGNMENT


def _owner_by_owner(
    items: Sequence[Item], group: Sequence[int], size: int, start: int, loads: list[float]
) -> tuple[list[int], tuple[int, ...]]:
    owners = assign_owners([items[index].cost for index in group], size, loads)
    offsets = [0] * len(group)
    ends: list[int] = []
    for rank in range(size):
        for place, index in enumerate(group):
            if owners[place] == rank:
                offsets[place] = start
                start += _padded(items[index].numel)
        ends.append(start)
    return offsets, tuple(ends)


def _end_to_end(
    items: Sequence[Item], group: Sequence[int], size: int, start: int
) -> tuple[list[int], tuple[int, ...]]:
    offsets: list[int] = []
    stop = start
    for index in group:
        offsets.append(stop)
        stop += _padded(items[index].numel)
    ends = [start + (stop - start) * (rank + 1) // size for rank in range(size)]
    cuts = [_cut(items, group, offsets, end) for end in ends[:-1]]
    return offsets, (*cuts, stop)


def _cut(items: Sequence[Item], group: Sequence[int], offsets: Sequence[int], end: int) -> int:
    """The last place up to `end` that is aligned and splits no row."""
    for index, offset in zip(group, offsets, strict=True):
        item = items[index]
        if offset <= end < offset + _padded(item.numel):
            row = prod(item.shape[1:])
            step = row * (ALIGNMENT // gcd(row, ALIGNMENT))
            return offset + (end - offset) // step * step
    return end


@dataclass(frozen=True)
class Piece:
    """What one rank updates of a parameter: `rows` of it, or all.

    Attributes:
        parameter: the model's own, or one of some of its rows.
    """

    name: str
    parameter: nn.Parameter
    shape: tuple[int, ...]
    """Of the whole parameter."""
    rows: range
    """For a parameter without dimensions, range(1)."""

    @property
    def is_whole(self) -> bool:
        return len(self.rows) == (self.shape[0] if self.shape else 1)


class FlatBuffers:
    """One contiguous tensor for all parameters, and one for all gradients.

    A collective then moves a run of one tensor.

    Attributes:
        parameters: [layout.numel]; each parameter is a view of it.
        gradients: [layout.numel]; each gradient is copied in when it is computed.
    """

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], layout: Layout):
        first = named[0][1]
        self.layout = layout
        self.parameters = first.detach().new_zeros(layout.numel)
        self.gradients = first.detach().new_zeros(layout.numel)
        self._pairs: list[tuple[nn.Parameter, Tensor]] = []
        for (_, parameter), slot in zip(named, layout.slots, strict=True):
            view = _view(self.parameters, slot)
            view.copy_(parameter.detach())
            parameter.data = view
            self._pairs.append((parameter, _view(self.gradients, slot)))

    def pieces(self, rank: int) -> list[Piece]:
        """What `rank` updates, in the order of the model; gradients are views of the buffer."""
        found = []
        for (parameter, gradient), slot in zip(self._pairs, self.layout.slots, strict=True):
            rows = self.layout.rows_of(slot, rank)
            if rows is None:
                continue
            piece = Piece(slot.name, parameter, slot.shape, rows)
            if not piece.is_whole:
                part = nn.Parameter(parameter.detach()[rows.start : rows.stop])
                part.grad = gradient[rows.start : rows.stop]
                piece = Piece(slot.name, part, slot.shape, rows)
            found.append(piece)
        return found

    def drop_gradients(self) -> None:
        """Before a step's first backward pass, which then has nothing to add to."""
        for parameter, _ in self._pairs:
            parameter.grad = None

    def take_gradient(self, index: int) -> None:
        """Copy a parameter's gradient into the buffer and make it a view of the buffer."""
        parameter, view = self._pairs[index]
        if parameter.grad is not view:
            view.zero_() if parameter.grad is None else view.copy_(parameter.grad)
            parameter.grad = view

    def take_gradients(self) -> None:
        """All of them; zero where the backward pass computed none."""
        for index in range(len(self._pairs)):
            self.take_gradient(index)

    def mark_changed(self, bucket: int) -> None:
        """Tell autograd that a bucket's parameters have changed, so that a backward pass that saved
        the old ones raises an error."""
        for (parameter, _), slot in zip(self._pairs, self.layout.slots, strict=True):
            if slot.bucket == bucket:
                torch.autograd.graph.increment_version(parameter)


def _view(flat: Tensor, slot: Slot) -> Tensor:
    return flat[slot.offset : slot.offset + slot.numel].view(slot.shape)
