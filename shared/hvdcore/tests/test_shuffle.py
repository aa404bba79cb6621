"""Windowed shuffling: resumable at every record, bounded in memory, the same for any ranks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvdcore.shuffle import rank_records, shuffled, window_order


def test_windows_recorded() -> None:
    got = list(shuffled("abcdefgh", window=3, seed=1, epoch=0))
    assert "".join(got) == "abcdfehg"
    assert sorted(got[:3]) == list("abc")
    assert sorted(got[6:]) == list("gh")


@given(
    n=st.integers(0, 60),
    window=st.integers(1, 20),
    epoch=st.integers(0, 3),
    start=st.integers(0, 60),
)
def test_resumed_anywhere(n: int, window: int, epoch: int, start: int) -> None:
    whole = list(shuffled(range(n), window=window, seed=5, epoch=epoch))
    assert sorted(whole) == list(range(n))
    rest = list(shuffled(range(n), window=window, seed=5, epoch=epoch, start=start))
    assert rest == whole[start:]


@given(n=st.integers(1, 60), window=st.integers(1, 20))
def test_order_without_reading_is_the_same(n: int, window: int) -> None:
    taken: list[int] = []
    while len(taken) < n:
        part = window_order(n, window, seed=5, epoch=2, start=len(taken))
        assert 1 <= len(part) <= window
        taken += part.tolist()[:7]  # taken in pieces: the next call goes on in the window
    assert taken == list(shuffled(range(n), window=window, seed=5, epoch=2))


def test_memory_is_bound_by_the_window() -> None:
    records = iter(range(10_000))
    stream = shuffled(records, window=16, seed=0, epoch=0)
    taken = [next(stream) for _ in range(20)]
    # 20 records lie in the first two windows, so no more than those were read.
    assert next(records) == 32
    assert sorted(taken[:16]) == list(range(16))


def test_rank_records_by_hand() -> None:
    def of(rank: int, drop: bool) -> list[list[int]]:
        return list(rank_records(range(9), 4, rank, 2, drop_last=drop))

    assert of(0, False) == [[0, 1], [4, 5], [8]]
    assert of(1, False) == [[2, 3], [6, 7], []]
    assert of(0, True) == [[0, 1], [4, 5]]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_ranks_together_read_the_global_order(size: int) -> None:
    ranks = [
        list(
            rank_records(
                shuffled(range(50), window=8, seed=1, epoch=0), 12, r, size, drop_last=False
            )
        )
        for r in range(size)
    ]
    assert {len(rank) for rank in ranks} == {5}
    together = [i for step in zip(*ranks, strict=True) for part in step for i in part]
    assert together == list(shuffled(range(50), window=8, seed=1, epoch=0))
