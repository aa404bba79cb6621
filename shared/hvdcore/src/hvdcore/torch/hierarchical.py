"""Sending buckets in two stages where hosts have several ranks each: within hosts, and between.

A link then carries an element of a step's gradients once from each host, and once in the form of a
new parameter, however many ranks the host has. Both stages are alltoalls of all ranks, most of
which send most others nothing: so they need no process sets, whose negotiation comes on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

import torch
from torch import Tensor

from hvdcore.runtime.world import World
from hvdcore.torch.buckets import FlatBuffers
from hvdcore.torch.collectives import engine, first_output, wait_for
from hvdcore.torch.exchange import Exchange, sum_into
from hvdcore.torch.relay import Relay
from hvdcore.torch.topology import Hosts, Stages


class SecondStage(NamedTuple):
    """A collective under way, and what this rank need not be sent."""

    handle: int
    own: Tensor


class HierarchicalExchange(Exchange):
    """As `Exchange`, with each bucket in two stages.

    Gradients: each rank adds up its host's shares of its column (see `Stages`), in the type of the
    buffers and in the order of local ranks; then each owner adds up the hosts' sums, in the order
    of hosts. Only these are sent in `dtype`: within a host bytes cost little, and so each gradient
    is rounded once, not twice. Parameters: each owner sends its part to its local rank of all
    hosts, and that rank sends it on within its host, in `dtype` as it came.
    """

    def __init__(
        self, flat: FlatBuffers, world: World, dtype: torch.dtype, name: str, hosts: Hosts
    ) -> None:
        super().__init__(flat, world, dtype, name)
        self._stages = [Stages(bucket, hosts, world.rank) for bucket in self._buckets]
        self._relay: Relay[SecondStage] = Relay(flat.gradients.device)
        self._sums: dict[int, Future[SecondStage]] = {}
        self._updates: dict[int, Future[SecondStage]] = {}

    def send_gradients(self, bucket: int) -> None:
        stages, gradients = self._stages[bucket], self._flat.gradients
        runs = [run for rank in stages.local_others for run in stages.column(rank)]
        sent = torch.cat([gradients[run] for run in runs])
        splits = stages.local_gradient_splits()
        handle = self._alltoall(sent, splits, f"gradients.{bucket}.local")
        self._sums[bucket] = self._relay.after(
            handle, lambda received: self._send_sums(bucket, received)
        )

    def _send_sums(self, bucket: int, received: Tensor) -> SecondStage:
        stages = self._stages[bucket]
        column = stages.column(self._world.rank)
        own = torch.cat([self._flat.gradients[run] for run in column])
        if len(own):
            shares = list(received.view(-1, len(own)))
            sum_into(own, _in_order(stages.local_ranks, stages.local_others, shares, own))
        parts = torch.split(own, [run.stop - run.start for run in column])
        by_rank = dict(zip(stages.cross_ranks, parts, strict=True))
        wire, width = self._to_wire(torch.cat([by_rank[rank] for rank in stages.cross_others]))
        splits = stages.cross_gradient_splits()
        handle = self._alltoall(wire, splits, f"gradients.{bucket}.cross", width)
        return SecondStage(handle, by_rank[self._world.rank])

    def receive_gradients(self, bucket: int) -> Tensor:
        stages = self._stages[bucket]
        second, received = self._wait(self._sums.pop(bucket), f"gradients.{bucket}")
        own = self._flat.gradients[self._buckets[bucket].part(self._world.rank)]
        if len(own):
            shares = list(received.view(-1, len(own)))
            ordered = _in_order(stages.cross_ranks, stages.cross_others, shares, second.own)
            sum_into(own, ordered)
        return own

    def send_parameters(self, bucket: int, update: Tensor | None = None) -> None:
        stages = self._stages[bucket]
        own = self._flat.parameters[self._buckets[bucket].part(self._world.rank)]
        wire, width = self._to_wire(own if update is None else update)
        sent = wire.repeat(len(stages.cross_others))
        splits = stages.cross_parameter_splits()
        handle = self._alltoall(sent, splits, f"parameters.{bucket}.cross", width)
        self._updates[bucket] = self._relay.after(
            handle, lambda received: self._send_on(bucket, wire, width, received)
        )

    def _send_on(self, bucket: int, own: Tensor, width: int, received: Tensor) -> SecondStage:
        stages = self._stages[bucket]
        others = stages.cross_others
        pieces = torch.split(received, [width * stages.part_numel(rank) for rank in others])
        column = torch.cat(_in_order(stages.cross_ranks, others, pieces, own))
        sent = column.repeat(len(stages.local_others))
        splits = stages.local_parameter_splits()
        handle = self._alltoall(sent, splits, f"parameters.{bucket}.local", width)
        return SecondStage(handle, column)

    def receive_parameters(self, bucket: int) -> None:
        future = self._updates.pop(bucket, None)
        if future is None:
            return
        stages = self._stages[bucket]
        second, received = self._wait(future, f"parameters.{bucket}")
        others = stages.local_others
        columns = torch.split(received, [stages.column_numel(rank) for rank in others])
        for rank, column in zip(others, columns, strict=True):
            self._take_column(stages.column(rank), column)
        self._take_column(stages.column(self._world.rank), self._from_wire(second.own))
        self._flat.mark_changed(bucket)

    def _take_column(self, column: Sequence[slice], values: Tensor) -> None:
        parts = torch.split(values, [run.stop - run.start for run in column])
        for run, part in zip(column, parts, strict=True):
            self._take(run, part)

    @property
    def has_parameters_under_way(self) -> bool:
        return bool(self._updates)

    def is_under_way(self, bucket: int) -> bool:
        return bucket in self._updates

    def _alltoall(self, tensor: Tensor, splits: Sequence[int], name: str, width: int = 1) -> int:
        sizes = torch.tensor([width * split for split in splits], dtype=torch.int32)
        handle: int = engine().alltoall_async(tensor, sizes, name=f"{self._name}.{name}")
        return handle

    def _wait(self, future: Future[SecondStage], name: str) -> tuple[SecondStage, Tensor]:
        output = wait_for(
            lambda: engine().synchronize(future.result().handle), f"{self._name}.{name}"
        )
        second = future.result()
        if second.own.is_cuda:  # made on the relay's stream
            second.own.record_stream(torch.cuda.current_stream(second.own.device))
        return second, self._from_wire(first_output(output))


def _in_order(
    ranks: Sequence[int], others: Sequence[int], theirs: Sequence[Tensor], own: Tensor
) -> list[Tensor]:
    """`theirs`, which are of `others`, and this rank's own, in the order of `ranks`."""
    by_rank = dict(zip(others, theirs, strict=True))
    return [by_rank.get(rank, own) for rank in ranks]
