"""Sums, flags, broadcast, statistics and evaluation on two real ranks, with known answers."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.ranks

Ranks = list[dict[str, Any]]


def test_sums_keep_their_type(ranks: Ranks) -> None:
    for rank in ranks:
        assert rank["sums"] == [[2**54, 1], [2.0 + 2.0**-40], [0, 3], 3.0]


def test_any_rank(ranks: Ranks) -> None:
    for rank in ranks:
        assert rank["any_rank"] == [True, False, True]


def test_no_rank_passes_a_barrier_before_the_last_one(ranks: Ranks) -> None:
    assert all(rank["barrier"] for rank in ranks)


def test_broadcast_makes_all_equal_but_the_seeds(ranks: Ranks) -> None:
    zero, one = (rank["broadcast"] for rank in ranks)
    assert zero["before"] == one["before"] == "weights: rank 1 differs from rank 0"
    assert zero["after"] == one["after"]
    assert zero["slots"] == one["slots"]
    # Rank 1 was the root; a bias begins at 0 and rank 1 had added 2.
    assert zero["bias"] == one["bias"] == [2.0] * 4
    # Twice broadcast, once moved: rank 0 is one stride below the root, rank 1 is the root.
    ((seed_zero, _),) = zero["seeds"]
    ((seed_one, _),) = one["seeds"]
    assert seed_zero == (seed_one - 1_000_003) % (2**31 - 2)


def test_broadcast_refuses_unlike_models(ranks: Ranks) -> None:
    for rank in ranks:
        assert "rank 1 built it differently from rank 0" in rank["broadcast_of_unlike_models"]


def test_moving_statistics_are_averaged_and_equal_ones_kept(ranks: Ranks) -> None:
    for rank in ranks:
        assert rank["statistics"] == [[2.0] * 4, True]


def test_evaluation_is_exact_for_uneven_and_empty_shards(ranks: Ranks) -> None:
    # x - x^2 for 0..6 is 0, 0, -2, -6, -12, -20, -30: squares sum to 1484, sizes to 70.
    # The mean of the two ranks' means, 36.8 and 650, would be 343.4.
    expected = {"loss": 1484 / 7, "mae": 70 / 7}
    for rank, own_count in zip(ranks, (5.0, 2.0), strict=True):
        empty, uneven, count = rank["evaluate"]
        assert empty == pytest.approx(expected, rel=1e-6)
        assert uneven == pytest.approx(expected, rel=1e-6)
        assert count == own_count  # the rank's own state is put back


def test_objects_are_the_roots(ranks: Ranks) -> None:
    for rank in ranks:
        assert rank["objects"] == [{"rank": 0, "text": "ä"}, [1, None]]
