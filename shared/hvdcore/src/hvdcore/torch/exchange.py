"""Sending buckets between ranks: gradients to the rank that updates them, parameters to all.

Gradients are sent straight to their owner, which adds them up in float32 and in the order of ranks,
whatever dtype they are sent in. So the sum of an element depends neither on its place nor on which
bucket was ready first, and a link carries (N - 1) / N of the bytes in each direction, as in a ring.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hvdcore.runtime.world import World
from hvdcore.torch.buckets import FlatBuffers
from hvdcore.torch.collectives import engine, first_output, wait

WIRE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Exchange:
    """The collectives of one model's buffers. Every rank must start them all, in any order.

    Args:
        dtype: of gradients and of parameter updates as they are sent; where it is the dtype of the
            buffers, parameters are sent themselves.
        name: the same on all ranks, and of no other exchange.
    """

    def __init__(self, flat: FlatBuffers, world: World, dtype: torch.dtype, name: str) -> None:
        self._flat, self._world, self._name = flat, world, name
        self._dtype = dtype
        self._buckets = flat.layout.buckets
        self._gradients: dict[int, int] = {}
        self._parameters: dict[int, int] = {}
        self._kept: dict[int, Tensor] = {}
        """What Horovod reads from until a collective ends."""

    @property
    def is_narrow(self) -> bool:
        return self._dtype != self._flat.parameters.dtype

    def send_gradients(self, bucket: int) -> None:
        """Start sending this bucket's gradients, which are complete, to their owners."""
        rank, size = self._world.rank, self._world.size
        splits = self._buckets[bucket].splits
        run = self._buckets[bucket].all
        # A rank's own part need not be sent; from the middle it cannot be left out.
        if rank == 0:
            run, splits[0] = slice(run.start + splits[0], run.stop), 0
        elif rank == size - 1:
            run, splits[-1] = slice(run.start, run.stop - splits[-1]), 0
        wire, width = self._to_wire(self._flat.gradients[run])
        self._kept[bucket] = wire
        self._gradients[bucket] = engine().alltoall_async(
            wire,
            torch.tensor([width * split for split in splits], dtype=torch.int32),
            name=f"{self._name}.gradients.{bucket}",
        )

    def receive_gradients(self, bucket: int) -> Tensor:
        """Wait for the owners' sums; returns this rank's part, in place in the buffer."""
        part = self._buckets[bucket].part(self._world.rank)
        own = self._flat.gradients[part]
        name = f"{self._name}.gradients.{bucket}"
        received = self._from_wire(first_output(wait(self._gradients.pop(bucket), name)))
        del self._kept[bucket]
        if len(own):
            shares = list(received.view(-1, len(own)))
            if len(shares) < self._world.size:
                shares.insert(self._world.rank, own)
            sum_into(own, shares)
        return own

    def send_parameters(self, bucket: int, update: Tensor | None = None) -> None:
        """Start sending this rank's part of a bucket's parameters to all ranks.

        Args:
            update: of the part, where the dtype for sending is narrower: then that is sent, and
                every rank adds the same rounded value.
        """
        own = self._flat.parameters[self._buckets[bucket].part(self._world.rank)]
        wire, _ = self._to_wire(own if update is None else update)
        name = f"{self._name}.parameters.{bucket}"
        self._kept[bucket] = wire
        if self._world.size == 2:
            # Open MPI's allgather of two ranks sends one way after the other.
            splits = torch.zeros(2, dtype=torch.int32)
            splits[1 - self._world.rank] = len(wire)
            self._parameters[bucket] = engine().alltoall_async(wire, splits, name=name)
        else:
            self._parameters[bucket] = engine().allgather_async(wire, name=name)

    def receive_parameters(self, bucket: int) -> None:
        """Wait for a bucket's parameters, if they are being sent, and copy them in."""
        handle = self._parameters.pop(bucket, None)
        if handle is None:
            return
        name = f"{self._name}.parameters.{bucket}"
        received = self._from_wire(first_output(wait(handle, name)))
        own = self._from_wire(self._kept.pop(bucket))
        place, rank = self._buckets[bucket], self._world.rank
        if self._world.size > 2:
            self._take(place.all, received)
        else:
            self._take(place.part(1 - rank), received)
            if self.is_narrow:
                self._take(place.part(rank), own)
        self._flat.mark_changed(bucket)

    def _take(self, place: slice, received: Tensor) -> None:
        target = self._flat.parameters[place]
        if self.is_narrow:
            target.add_(received)
        else:
            target.copy_(received)

    @property
    def has_parameters_under_way(self) -> bool:
        return bool(self._parameters)

    def is_under_way(self, bucket: int) -> bool:
        """Whether a bucket's parameters have not been updated here yet."""
        return bucket in self._parameters

    def _to_wire(self, tensor: Tensor) -> tuple[Tensor, int]:
        """The tensor as it is sent, and how many of its elements each of `tensor` takes."""
        if not self.is_narrow:
            return tensor, 1
        return tensor.to(self._dtype).view(torch.uint8), self._dtype.itemsize

    def _from_wire(self, tensor: Tensor) -> Tensor:
        return tensor.view(self._dtype) if self.is_narrow else tensor


def sum_into(own: Tensor, shares: Sequence[Tensor]) -> None:
    """own = shares[0] + shares[1] + ..., each sum in the type of `own`, which may be one of them.

    The first sum has memory of its own, as `own` may come later in `shares`.
    """
    total = shares[0].to(own.dtype)
    for number, share in enumerate(shares[1:], start=2):
        last = number == len(shares)
        total = torch.add(total, share.to(own.dtype), out=own if last else None)
