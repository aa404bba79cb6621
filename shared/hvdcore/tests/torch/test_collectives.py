"""Small collectives on real ranks: values that name their rank have known sums."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.ranks
Results = list[dict[str, Any]]


@pytest.fixture
def results(start: Any, world: tuple[str, int]) -> Results:
    found: Results = start("collectives", *world)
    return found


def test_world_is_the_launchers(results: Results, world: tuple[str, int]) -> None:
    controller, size = world
    assert [result["world"] for result in results] == [
        [rank, size, rank, size, controller] for rank in range(size)
    ]
    assert all(result["again"] for result in results)


def test_sums_have_their_closed_form(results: Results, world: tuple[str, int]) -> None:
    size = world[1]
    triangle = size * (size - 1) // 2
    for result in results:
        assert result["floats"] == [triangle + size, sum(10**rank for rank in range(size))]
        assert result["doubles"] == [[pytest.approx(triangle + size * 1e-12, rel=1e-15)]]
        assert result["integers"] == [size * 2**40 + triangle]
        assert result["scalar"] == 2 * size


def test_sum_leaves_its_input(results: Results) -> None:
    assert [result["kept"] for result in results] == [[rank + 1] for rank in range(len(results))]


def test_broadcast_takes_the_root_ranks_values(results: Results) -> None:
    last = len(results) - 1
    for result in results:
        assert result["broadcast"] == [last + 5, last + 7, last + 9]
        assert result["object"] == {"from": last, "text": "gr\u00fc\u00df"}


def test_one_ranks_flag_is_enough(results: Results) -> None:
    assert all(result["any"] == [False, True, True] for result in results)


def test_no_rank_passes_a_barrier_before_the_last_one(results: Results) -> None:
    assert all(result["barrier"] for result in results)


def test_bytes_of_different_lengths_reach_rank_zero_only(results: Results) -> None:
    size = len(results)
    assert results[0]["gathered"] == [[rank] * 3 * rank for rank in range(size)]
    assert all(result["gathered"] == [] for result in results[1:])


def test_a_rank_with_other_weights_is_named(results: Results) -> None:
    size = len(results)
    expected = "same" if size == 1 else "weights differ between ranks: rank 1 of"
    assert all(result["spoiled"].startswith(expected) for result in results)


def test_the_peak_is_that_of_all_ranks_together(results: Results) -> None:
    size = len(results)
    assert {result["peak"] for result in results} == {size * (size + 1) / 2}
