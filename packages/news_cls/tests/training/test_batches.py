"""Batches of like length: each sample once, the same for any number of ranks, little padding."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvdcore.sharding import Position, TrainStep, seeded_order, train_steps
from news_cls.data.clean import clean
from news_cls.data.sample import write_news
from news_cls.data.tokens import tokenize
from news_cls.testing import padding_fraction
from news_cls.training.batches import bucketed_order, padded_length

numbers = st.lists(st.integers(0, 80), min_size=0, max_size=200).map(
    lambda values: np.array(values, dtype=np.int64)
)


def bucketed_steps(
    lengths: np.ndarray, *, global_batch_size: int, seed: int, **share: Any
) -> Iterator[TrainStep]:
    return train_steps(
        len(lengths), global_batch_size=global_batch_size, seed=seed, tail="wrap",
        order=lambda epoch: bucketed_order(lengths, global_batch_size, seed, epoch),
        **{"rank": 0, "size": 1, **share},
    )  # fmt: skip


def test_a_small_case_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven samples in batches of two, two batches a chunk; the shuffles are set to be known."""
    monkeypatch.setattr(
        "news_cls.training.batches.epoch_order", lambda *_: np.array([6, 0, 5, 1, 4, 2, 3])
    )
    monkeypatch.setattr("news_cls.training.batches.seeded_order", lambda *_: np.array([2, 0, 1]))
    lengths = np.array([9, 3, 5, 1, 4, 2, 8])
    order = bucketed_order(lengths, 2, seed=0, epoch=0, chunk=2)
    # The tail is 3. Chunks: 6 0 5 1 of lengths 8 9 2 3, so 5 1 6 0; and 4 2 of lengths 4 5.
    # Batches: (5 1) (6 0) (4 2); in the order 2, 0, 1.
    assert order.tolist() == [4, 2, 5, 1, 6, 0, 3]
    # Filled up to 5 5, 3 3, 9 9, 1: 35 positions for 32 tokens.
    assert padding_fraction(lengths, order, 2, multiple=1) == pytest.approx(3 / 35)
    # To multiples of 8: 16 + 16 + 32 + 8 = 72 positions.
    assert padding_fraction(lengths, order, 2) == pytest.approx(40 / 72)


@given(numbers, st.integers(1, 40), st.integers(0, 5), st.integers(0, 3), st.integers(1, 6))
def test_a_permutation_that_depends_on_its_numbers_alone(
    lengths: np.ndarray, batch: int, seed: int, epoch: int, chunk: int
) -> None:
    order = bucketed_order(lengths, batch, seed, epoch, chunk)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert order.dtype == np.int64
    assert (order == bucketed_order(lengths.copy(), batch, seed, epoch, chunk)).all()


@given(numbers.filter(lambda lengths: len(lengths) >= 12), st.sampled_from([1, 2, 3, 4, 6]))
def test_any_number_of_ranks_trains_on_the_same_batches(lengths: np.ndarray, size: int) -> None:
    def steps(rank: int, size: int) -> list[list[int]]:
        found = bucketed_steps(lengths, global_batch_size=12, seed=3, rank=rank, size=size)
        return [step.indices.tolist() for step in islice(found, 20)]

    alone = steps(0, 1)
    splits = zip(*(steps(rank, size) for rank in range(size)), strict=True)
    together = [[index for split in step for index in split] for step in splits]
    assert together == alone


def test_batches_are_of_like_length_and_come_in_any_order() -> None:
    lengths = seeded_order(1000, 7) % 80
    order = bucketed_order(lengths, 10, seed=0, epoch=0, chunk=100)
    batches = lengths[order].reshape(100, 10)
    assert (batches.max(axis=1) - batches.min(axis=1)).max() <= 2
    middles = batches[:, 5]
    assert abs(np.corrcoef(np.arange(100), middles)[0, 1]) < 0.3
    assert not (order == bucketed_order(lengths, 10, seed=0, epoch=1, chunk=100)).all()
    assert not (order == bucketed_order(lengths, 10, seed=1, epoch=0, chunk=100)).all()


def test_the_tail_is_as_long_as_other_samples() -> None:
    """Control: a tail cut off after the sorting would always be the longest samples."""
    lengths = np.arange(105)
    tails = [bucketed_order(lengths, 50, 0, epoch)[100:] for epoch in range(200)]
    assert np.concatenate(tails).mean() == pytest.approx(52, abs=3)


def test_steps_go_on_from_a_position() -> None:
    lengths = seeded_order(50, 1)
    every = list(islice(bucketed_steps(lengths, global_batch_size=8, seed=0), 20))
    assert [step.epoch for step in every[:8]] == [0] * 7 + [1]
    assert every[6].ends_epoch
    after = every[8].position
    assert after == Position(epoch=1, step=2, samples_seen=72)
    rest = islice(bucketed_steps(lengths, global_batch_size=8, seed=0, start=after), 5)
    for step, expected in zip(rest, every[9:14], strict=True):
        assert step.indices.tolist() == expected.indices.tolist()
        assert step.position == expected.position
    with pytest.raises(ValueError, match="step 7 of epoch 0 is beyond its 7 steps"):
        next(bucketed_steps(lengths, global_batch_size=8, seed=0, start=Position(0, 7, 0)))


def test_padded_length() -> None:
    assert padded_length(np.array([3, 8, 1])) == 8
    assert padded_length(np.array([9])) == 16
    assert padded_length(np.array([9]), multiple=1) == 9
    assert padded_length(np.array([], dtype=np.int64)) == 8
    assert padded_length(np.array([0])) == 8


def test_padding_of_the_sample() -> None:
    lengths = np.array([len(tokenize(clean(write_news(n)[1])[0])) for n in range(3600)])
    order = bucketed_order(lengths, 64, seed=0, epoch=0)
    plain = padding_fraction(lengths, seeded_order(len(lengths), 0, 0, 0), 64, multiple=1)
    assert padding_fraction(lengths, order, 64, multiple=1) < 0.03 < 0.35 < plain
