"""Shards: lists written by hand, orders recorded once and for all, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvdcore.errors import UserError
from hvdcore.sharding import (
    check_shardable,
    epoch_order,
    eval_range,
    num_steps,
    seeded_order,
    train_indices,
)

TEN = np.arange(10)


@pytest.mark.parametrize(
    ("n", "seed", "epoch", "order"),
    [
        (0, 0, 0, []),
        (1, 5, 9, [0]),
        (10, 0, 0, [7, 6, 8, 3, 2, 4, 1, 5, 0, 9]),
        (10, 0, 1, [2, 5, 1, 8, 6, 7, 0, 4, 3, 9]),
        (10, 1, 0, [2, 3, 0, 7, 4, 1, 8, 5, 9, 6]),
        (10, 2**40, 7, [7, 4, 2, 1, 0, 5, 9, 8, 6, 3]),
    ],
)
def test_order_is_the_one_recorded(n: int, seed: int, epoch: int, order: list[int]) -> None:
    got = epoch_order(n, seed, epoch)
    assert got.dtype == np.int64
    assert got.tolist() == order


def test_order_is_that_of_philox_keys_worked_out_by_another_road() -> None:
    sequence = np.random.SeedSequence(3, spawn_key=(0, 4))
    keys = [int(k) for k in np.random.Philox(sequence).random_raw(50)]
    by_python = sorted(range(50), key=lambda i: (keys[i], i))
    assert epoch_order(50, 3, 4).tolist() == by_python


def test_seeds_above_32_bits_do_not_collide_with_an_epoch() -> None:
    # SeedSequence([2**32 + 5, 0]) and SeedSequence([5, 1]) are one and the same.
    assert epoch_order(100, 2**32 + 5, 0).tolist() != epoch_order(100, 5, 1).tolist()


def test_streams_of_one_seed_differ() -> None:
    assert seeded_order(100, 1, 0, 2).tolist() != seeded_order(100, 1, 1, 2).tolist()


@pytest.mark.parametrize(
    ("n", "batch", "kept", "dropped"),
    [(10, 4, 3, 2), (8, 4, 2, 2), (9, 4, 3, 2), (3, 4, 1, 0), (0, 4, 0, 0), (1, 1, 1, 1)],
)
def test_num_steps(n: int, batch: int, kept: int, dropped: int) -> None:
    assert num_steps(n, batch, drop_last=False) == kept
    assert num_steps(n, batch, drop_last=True) == dropped


def shards(step: int, batch: int, size: int, **how: object) -> list[list[int]]:
    return [train_indices(TEN, step, batch, r, size, **how).tolist() for r in range(size)]  # type: ignore[arg-type]


def test_train_shards_by_hand() -> None:
    assert shards(0, 4, 2) == [[0, 1], [2, 3]]
    assert shards(1, 4, 2) == [[4, 5], [6, 7]]
    assert shards(2, 4, 2) == [[8, 9], [0, 1]]  # wrapped: the epoch's first samples again
    assert shards(2, 4, 2, tail="short") == [[8], [9]]
    assert shards(2, 4, 4, tail="short") == [[8], [9], [], []]
    assert shards(1, 6, 3) == [[6, 7], [8, 9], [0, 1]]
    assert shards(1, 6, 3, tail="short") == [[6, 7], [8], [9]]
    assert shards(0, 24, 2) == [[*range(10), 0, 1], [*range(2, 10), *range(4)]]  # round twice


def test_a_step_beyond_the_epoch_is_an_error() -> None:
    with pytest.raises(IndexError, match="step 3 is beyond an epoch of 10 samples"):
        train_indices(TEN, 3, 4, 0, 2)


def test_uneven_batch_names_the_nearest_that_fit() -> None:
    with pytest.raises(UserError, match=r"global_batch_size: 10 .* 3 ranks; .*such as 9 or 12"):
        train_indices(TEN, 0, 10, 0, 3)


@pytest.mark.parametrize(
    ("n", "size", "shares"),
    [
        (10, 3, [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        (2, 4, [[0], [1], [], []]),
        (0, 2, [[], []]),
        (3, 1, [[0, 1, 2]]),
        (4, 2, [[0, 1], [2, 3]]),
        (1, 5, [[0], [], [], [], []]),  # a remainder below size / 2
    ],
)
def test_eval_ranges_by_hand(n: int, size: int, shares: list[list[int]]) -> None:
    assert [list(eval_range(n, rank, size)) for rank in range(size)] == shares


@given(n=st.integers(0, 500), size=st.integers(1, 33))
def test_evaluation_sees_each_sample_once(n: int, size: int) -> None:
    shares = [eval_range(n, rank, size) for rank in range(size)]
    assert [i for share in shares for i in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@st.composite
def remainders(draw: st.DrawFn) -> tuple[int, int, int]:
    """(n, global batch, size), with tails of 0, 1, below size/2 and just below the batch."""
    size = draw(st.integers(1, 9))
    batch = size * draw(st.integers(1, 5))
    tail = draw(st.sampled_from(sorted({0, 1 % batch, max(0, size // 2 - 1), batch - 1})))
    return draw(st.integers(0, 6)) * batch + tail, batch, size


@given(remainders())
def test_short_tail_trains_on_each_sample_once(case: tuple[int, int, int]) -> None:
    n, batch, size = case
    order = epoch_order(n, 1, 2)
    seen = [
        int(i)
        for step in range(num_steps(n, batch, drop_last=False))
        for rank in range(size)
        for i in train_indices(order, step, batch, rank, size, tail="short")
    ]
    assert seen == order.tolist()


@given(remainders())
def test_wrapped_tail_gives_equal_counts_and_the_global_order(case: tuple[int, int, int]) -> None:
    n, batch, size = case
    order = epoch_order(n, 1, 2)
    for step in range(num_steps(n, batch, drop_last=False)):
        shares = [train_indices(order, step, batch, rank, size) for rank in range(size)]
        assert {len(share) for share in shares} == {batch // size}
        together = np.concatenate(shares)
        assert together.tolist() == [order[(step * batch + i) % n] for i in range(batch)]


@given(n=st.integers(0, 300), seed=st.integers(0, 2**63), epoch=st.integers(0, 2**31))
def test_order_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_order(n, seed, epoch).tolist()) == list(range(n))


def test_check_shardable_reports_everything_at_once() -> None:
    with pytest.raises(UserError) as caught:
        check_shardable(2, 8, 3, unit="token blocks")
    assert caught.value.problems == (
        "global_batch_size: 8 cannot be divided equally among 3 ranks; give a multiple of 3,"
        " such as 6 or 9",
        "np: 3 ranks but only 2 training token blocks; give fewer ranks or more data",
    )
    check_shardable(3, 9, 3)
    with pytest.raises(UserError, match="which leaves no step; give 5 or less"):
        check_shardable(5, 8, 2, drop_last=True)
    with pytest.raises(UserError, match="got 0; give 1 or more"):
        check_shardable(5, 0, 2)


def test_a_batch_that_repeats_few_samples_without_end_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        check_shardable(101, 10**12, 2)
    assert str(caught.value) == (
        "global_batch_size: got 1000000000000 with only 101 training samples, each of which a step"
        " would repeat 9900990099 times; give 100 or less"
    )
    check_shardable(101, 1 << 16, 2)  # control
    check_shardable(10**7, 10**7, 2)
