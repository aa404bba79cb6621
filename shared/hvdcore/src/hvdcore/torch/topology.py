"""Which ranks share a host, and which elements of a bucket a rank sends to which others.

Where hosts have several ranks each, gradients are added up within a host before they leave it, so
that a link carries each element once and not once for each rank. Ranks of the same local rank, one
on each host, exchange these sums. Parameters take the same way back.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hvdcore.runtime.world import World
from hvdcore.torch.buckets import Bucket
from hvdcore.torch.collectives import engine, gather_rows


@dataclass(frozen=True)
class Hosts:
    """Hosts with the same number of ranks each: `ranks[h][l]` has local rank l on host h."""

    ranks: tuple[tuple[int, ...], ...]

    @property
    def num_hosts(self) -> int:
        return len(self.ranks)

    @property
    def ranks_per_host(self) -> int:
        return len(self.ranks[0])

    def place(self, rank: int) -> tuple[int, int]:
        """A rank's host, counted from 0, and its local rank."""
        for host, ranks in enumerate(self.ranks):
            if rank in ranks:
                return host, ranks.index(rank)
        raise ValueError(f"no host has rank {rank}")


def group_by_host(hosts: Sequence[int], local_ranks: Sequence[int]) -> Hosts | None:
    """The hosts, in the order of their first ranks, from each rank's host and local rank.

    None where a sum within hosts would save nothing, or cannot be made: a single host, hosts of one
    rank, different numbers of ranks, or a local rank that is missing or there twice.
    """
    found: dict[int, dict[int, int]] = {}
    for rank, (host, local_rank) in enumerate(zip(hosts, local_ranks, strict=True)):
        found.setdefault(host, {})[local_rank] = rank
    per_host, left = divmod(len(hosts), len(found))
    if len(found) < 2 or per_host < 2 or left:
        return None
    if any(sorted(group) != list(range(per_host)) for group in found.values()):
        return None
    return Hosts(tuple(tuple(group[i] for i in range(per_host)) for group in found.values()))


def is_hierarchical(asked: bool | None, device: str) -> bool:
    """Whether gradients are added up within hosts first, where `read_hosts` finds such hosts.

    Args:
        asked: what the user said; None: nothing.
        device: type of the parameters' device. On GPUs it has not been run, so only if asked for.
    """
    return device == "cpu" if asked is None else asked


def read_hosts(world: World) -> Hosts | None:
    """The hosts of the job, or None as in `group_by_host`. Every rank must call.

    Hosts are told apart by their names. Where several have one name, Horovod's cross rank is taken,
    which numbers a host rightly unless ranks are placed on hosts one by one.
    """
    if world.local_size in (1, world.size) or not engine().is_homogeneous():
        return None  # known to all ranks without asking
    name = int.from_bytes(hashlib.sha256(platform.node().encode()).digest()[:7], "big")
    row = torch.tensor([[world.local_rank, name, engine().cross_rank()]])
    local_ranks, names, cross_ranks = gather_rows(row, "hvdcore.hosts").T.tolist()
    return group_by_host(names, local_ranks) or group_by_host(cross_ranks, local_ranks)


@dataclass(frozen=True)
class Stages:
    """What one rank sends of a bucket, within its host and to the other hosts.

    A column is the parts of all owners with the same local rank, in the order of hosts. The rank
    adds up its own column for its host, and of these sums sends each owner its part.
    """

    bucket: Bucket
    hosts: Hosts
    rank: int

    @property
    def local_ranks(self) -> tuple[int, ...]:
        """The ranks of this host, in the order of local ranks."""
        return self.hosts.ranks[self.hosts.place(self.rank)[0]]

    @property
    def cross_ranks(self) -> tuple[int, ...]:
        """The ranks of this local rank, in the order of hosts."""
        return self._with_local_rank_of(self.rank)

    @property
    def local_others(self) -> list[int]:
        """In the order in which an alltoall sends and receives."""
        return sorted(set(self.local_ranks) - {self.rank})

    @property
    def cross_others(self) -> list[int]:
        """In the order in which an alltoall sends and receives."""
        return sorted(set(self.cross_ranks) - {self.rank})

    def column(self, rank: int) -> list[slice]:
        """The parts of all owners with the local rank of `rank`, in the order of hosts."""
        return [self.bucket.part(owner) for owner in self._with_local_rank_of(rank)]

    def part_numel(self, rank: int) -> int:
        return _length(self.bucket.part(rank))

    def column_numel(self, rank: int) -> int:
        return sum(map(_length, self.column(rank)))

    def local_gradient_splits(self) -> list[int]:
        """Elements to each rank: their columns to the ranks of this host."""
        return self._splits({rank: self.column_numel(rank) for rank in self.local_others})

    def cross_gradient_splits(self) -> list[int]:
        """Elements to each rank: their parts of the host's sums to the owners on other hosts."""
        return self._splits({rank: self.part_numel(rank) for rank in self.cross_others})

    def cross_parameter_splits(self) -> list[int]:
        """Elements to each rank: this rank's part to the same local rank of other hosts."""
        return self._splits(dict.fromkeys(self.cross_others, self.part_numel(self.rank)))

    def local_parameter_splits(self) -> list[int]:
        """Elements to each rank: this rank's column to the others of its host."""
        return self._splits(dict.fromkeys(self.local_others, self.column_numel(self.rank)))

    def _with_local_rank_of(self, rank: int) -> tuple[int, ...]:
        local_rank = self.hosts.place(rank)[1]
        return tuple(ranks[local_rank] for ranks in self.hosts.ranks)

    def _splits(self, elements: dict[int, int]) -> list[int]:
        return [elements.get(rank, 0) for rank in range(len(self.bucket.ends))]


def _length(run: slice) -> int:
    return int(run.stop - run.start)
