"""Hosts, and what goes to whom in each stage, against lists worked out by hand."""

from __future__ import annotations

import pytest

from hvdcore.runtime.world import World
from hvdcore.torch.buckets import Bucket, Layout
from hvdcore.torch.sharded_memory import ShardedMemory
from hvdcore.torch.topology import Hosts, Stages, group_by_host, read_hosts

BY_HOST = Hosts(((0, 1), (2, 3)))
IN_TURNS = Hosts(((0, 2), (1, 3)))
# Ranks own 16, 0, 48 and 32 elements.
BUCKET = Bucket(100, (116, 116, 164, 196))


@pytest.mark.parametrize(
    ("hosts", "local_ranks", "expected"),
    [
        ([7, 7, 9, 9], [0, 1, 0, 1], BY_HOST),
        ([7, 9, 7, 9], [0, 0, 1, 1], IN_TURNS),
        ([7, 9, 9, 7], [0, 0, 1, 1], Hosts(((0, 3), (1, 2)))),  # placed one by one
        ([7, 7, 9, 9, 5, 5], [0, 1, 1, 0, 0, 1], Hosts(((0, 1), (3, 2), (4, 5)))),
        ([7, 7, 7, 7], [0, 1, 2, 3], None),  # one host
        ([7, 9], [0, 0], None),  # one rank a host
        ([7, 7, 7, 9], [0, 1, 2, 0], None),
        ([7, 7, 9], [0, 1, 0], None),
        ([7, 7, 7, 7], [0, 1, 0, 1], None),  # two hosts of one name
        ([7, 7, 9, 9], [0, 1, 0, 2], None),
    ],
)
def test_ranks_are_grouped_by_host(
    hosts: list[int], local_ranks: list[int], expected: Hosts | None
) -> None:
    assert group_by_host(hosts, local_ranks) == expected


@pytest.mark.parametrize("place", [World(0, 4, 0, 4, "mpi"), World(2, 4, 0, 1, "gloo")])
def test_one_host_and_one_rank_a_host_ask_nobody(place: World) -> None:
    """Horovod has not been started here, so asking would raise."""
    assert read_hosts(place) is None


def test_host_by_host() -> None:
    """Column 0 are the parts of ranks 0 and 2: 16 + 48 elements. Column 1: 0 + 32."""
    stages = Stages(BUCKET, BY_HOST, rank=0)
    assert stages.column(0) == stages.column(2) == [slice(100, 116), slice(116, 164)]
    assert stages.column(1) == stages.column(3) == [slice(116, 116), slice(164, 196)]
    assert (stages.local_ranks, stages.cross_ranks) == ((0, 1), (0, 2))
    assert stages.local_gradient_splits() == [0, 32, 0, 0]
    assert stages.cross_gradient_splits() == [0, 0, 48, 0]
    assert stages.cross_parameter_splits() == [0, 0, 16, 0]
    assert stages.local_parameter_splits() == [0, 64, 0, 0]


def test_in_turns() -> None:
    """Host 0 has ranks 0 and 2, host 1 ranks 1 and 3. Column 0: 16 + 0, column 1: 48 + 32."""
    stages = Stages(BUCKET, IN_TURNS, rank=3)
    assert stages.column(3) == [slice(116, 164), slice(164, 196)]
    assert (stages.local_ranks, stages.cross_ranks) == ((1, 3), (2, 3))
    assert stages.local_gradient_splits() == [0, 16, 0, 0]
    assert stages.cross_gradient_splits() == [0, 0, 48, 0]
    assert stages.cross_parameter_splits() == [0, 0, 32, 0]
    assert stages.local_parameter_splits() == [0, 80, 0, 0]


@pytest.mark.parametrize("hosts", [BY_HOST, IN_TURNS, Hosts(((0,), (1,), (2,), (3,)))])
def test_a_link_carries_a_bucket_once(hosts: Hosts) -> None:
    """From each of H hosts the parts of the others' owners; to each, those of its own."""
    for ranks in hosts.ranks:
        own = sum(BUCKET.splits[rank] for rank in ranks)
        all_stages = [Stages(BUCKET, hosts, rank) for rank in ranks]
        gradients = sum(sum(stages.cross_gradient_splits()) for stages in all_stages)
        parameters = sum(sum(stages.cross_parameter_splits()) for stages in all_stages)
        assert gradients == 96 - own
        assert parameters == (hosts.num_hosts - 1) * own


@pytest.mark.parametrize("hosts", [BY_HOST, IN_TURNS])
def test_every_element_comes_once_to_every_rank(hosts: Hosts) -> None:
    """What is not this rank's own column comes from the others of its host, as theirs."""
    for rank in range(4):
        stages = Stages(BUCKET, hosts, rank)
        runs = [run for other in stages.local_ranks for run in stages.column(other)]
        assert sorted(i for run in runs for i in range(run.start, run.stop)) == [*range(100, 196)]


def test_memory_of_two_stages() -> None:
    """Rank 0 owns 16 of 96 elements, its column has 64. Gradients: the column's sums, 48 of them to
    the other host and 16 from there; before, 32 sent and 64 received within the host. Parameters:
    32 received, the column and what is sent of it. A job of one host has no such stages, nor one
    that is told to have none."""
    layout = Layout((), (Bucket(0, (16, 16, 64, 96)),))
    memory = ShardedMemory(layout, rank=0, size=4, local_size=2)
    assert memory.gradient_exchange == 4 * (64 + 48 + 16 + 32 + 64)
    assert memory.parameter_exchange == 4 * (32 + 64 + 64)
    alone = ShardedMemory(layout, rank=0, size=4, local_size=4)
    straight = ShardedMemory(layout, rank=0, size=4)
    told = ShardedMemory(layout, rank=0, size=4, local_size=2, hierarchical=False)
    for one in (alone, told):
        assert one.gradient_exchange == straight.gradient_exchange
        assert one.parameter_exchange == straight.parameter_exchange
