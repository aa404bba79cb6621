"""ElasticSampler against lists of indices that were written by hand."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("torch", reason="horovod.torch needs PyTorch")
pytest.importorskip("horovod.torch")

from horovod.torch.elastic import sampler as sampler_module
from horovod.torch.elastic.sampler import ElasticSampler


class Ranks:
    """Makes a sampler as it is on a given rank of a job of a given size."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def be(self, rank: int, size: int) -> None:
        self._monkeypatch.setattr(sampler_module, "rank", lambda: rank)
        self._monkeypatch.setattr(sampler_module, "size", lambda: size)

    def samplers(self, length: int, size: int, **options: object) -> list[ElasticSampler]:
        made = []
        for rank in range(size):
            self.be(rank, size)
            made.append(ElasticSampler(range(length), **{"shuffle": False, **options}))
        return made

    def resized(self, before: ElasticSampler, size: int) -> list[ElasticSampler]:
        """What a job of another size makes of the state of `before`."""
        after = self.samplers(len(before.dataset), size)
        for rank, one in enumerate(after):
            self.be(rank, size)
            one.load_state_dict(before.state_dict())
        return after


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Ranks:
    return Ranks(monkeypatch)


SHARES = [
    (8, [[0, 2, 4, 6], [1, 3, 5, 7]]),
    (7, [[0, 2, 4, 6], [1, 3, 5, 0]]),
    (4, [[0], [1], [2], [3]]),
    (5, [[0, 4], [1, 0], [2, 1], [3, 2]]),
    # Fewer than half as many samples as ranks: upstream fails here.
    (1, [[0], [0], [0], [0]]),
    (2, [[0], [1], [0], [1], [0]]),
    (3, [[0], [1], [2], [0], [1], [2], [0]]),
    (0, [[], [], []]),
    (3, [[0, 1, 2]]),
]


@pytest.mark.parametrize(("length", "expected"), SHARES)
def test_shares(length: int, expected: list[list[int]], ranks: Ranks) -> None:
    samplers = ranks.samplers(length, len(expected))
    assert [list(one) for one in samplers] == expected
    assert [len(one) for one in samplers] == [len(share) for share in expected]


# data set, size before, batch size, batches recorded, shares of the job afterwards
RESIZED = [
    (12, 2, 2, 2, [[8, 11], [9, 8], [10, 9]]),
    (12, 3, 2, 1, [[6, 7, 8, 9, 10, 11]]),
    (12, 1, 1, 5, [[5, 7, 9, 11], [6, 8, 10, 5]]),
    (12, 2, 3, 2, [[], []]),
    # The last batch is smaller than the others, but counted as a whole one.
    (10, 2, 4, 2, [[], [], []]),
    (9, 4, 2, 1, [[8], [8], [8]]),
]


@pytest.mark.parametrize(("length", "size", "batch", "recorded", "expected"), RESIZED)
def test_what_is_left_is_shared_out_anew(
    length: int, size: int, batch: int, recorded: int, expected: list, ranks: Ranks
) -> None:
    before = ranks.samplers(length, size)[0]
    for number in range(recorded):
        before.record_batch(number, batch)
    after = ranks.resized(before, len(expected))
    assert [list(one) for one in after] == expected


def test_each_sample_once_through_three_sizes(ranks: Ranks) -> None:
    samplers, used = ranks.samplers(24, 4), Counter()
    for size, batches in ((4, 2), (2, 3), (3, 2)):
        samplers = ranks.resized(samplers[0], size)
        for one in samplers:
            used.update(list(one)[: batches * 1])
            for number in range(batches):
                one.record_batch(number, 1)
    # 8, then 6, then 6 of 24.
    assert used == Counter(range(20))
    assert list(ranks.resized(samplers[0], 1)[0]) == [20, 21, 22, 23]


def test_control_without_records_samples_come_twice(ranks: Ranks) -> None:
    first = ranks.samplers(4, 2)
    used = Counter(list(first[0])[:1])
    used.update(list(ranks.resized(first[0], 1)[0]))
    assert used[0] == 2


def test_an_epoch_begins_with_all_samples(ranks: Ranks) -> None:
    one = ranks.samplers(6, 2)[1]
    one.record_batch(0, 2)
    ranks.be(1, 2)
    one.set_epoch(1)
    assert list(one) == [1, 3, 5]
    assert one.state_dict() == {"epoch": 1, "processed_num": 0}


def test_shuffling_is_the_same_on_all_ranks_and_another_in_each_epoch(ranks: Ranks) -> None:
    orders = []
    for epoch in range(3):
        samplers = ranks.samplers(50, 2, shuffle=True, seed=7)
        for rank, one in enumerate(samplers):
            ranks.be(rank, 2)
            one.set_epoch(epoch)
        order = [index for pair in zip(*samplers, strict=True) for index in pair]
        assert sorted(order) == list(range(50))
        orders.append(tuple(order))
    assert len(set(orders)) == 3


def test_shuffled_samples_come_once_through_a_change(ranks: Ranks) -> None:
    first = ranks.samplers(30, 3, shuffle=True, seed=1)
    used = Counter(index for one in first for index in list(one)[:4])
    for number in range(2):
        first[0].record_batch(number, 2)
    second = ranks.samplers(30, 2, shuffle=True, seed=1)
    for rank, one in enumerate(second):
        ranks.be(rank, 2)
        one.load_state_dict(first[0].state_dict())
        used.update(list(one))
    assert used == Counter(range(30))
