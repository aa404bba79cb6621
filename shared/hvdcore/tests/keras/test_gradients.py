"""Gradients coded by rank (rank 0 and 1), reduced by real ranks; the answers are worked by hand."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.ranks

Ranks = list[dict[str, Any]]


def both(ranks: Ranks, case: str) -> Any:
    """A case's result, which must be the same on each rank."""
    assert ranks[0][case] == ranks[1][case]
    return ranks[0][case]


def test_average_leaves_a_variable_without_gradient_alone(ranks: Ranks) -> None:
    # SGD with rate 1 from zeros: minus the mean of (1, 10) and (2, 10).
    assert both(ranks, "average") == [[-1.5, -10.0], [0.0, 0.0]]


def test_sum(ranks: Ranks) -> None:
    assert both(ranks, "sum") == [[-3.0, -20.0]]


def test_clips_the_average_not_each_rank(ranks: Ranks) -> None:
    # Mean of (3, 0) and (0, 4) is (1.5, 2), of norm 2.5. Clipped first it would be (0.5, 0.5).
    assert both(ranks, "clip_after_average") == [pytest.approx([-0.6, -0.8])]


def test_accumulation_updates_with_the_mean_of_all(ranks: Ranks) -> None:
    # Ranks saw 1, 5 and 3, 7.
    assert both(ranks, "accumulation") == [[-4.0, 0.0]]


def test_two_element_types_in_one_model(ranks: Ranks) -> None:
    assert both(ranks, "two_element_types") == [-1.5, -3.5]


def test_sparse_rows_are_summed_by_index_beside_dense_gradients(ranks: Ranks) -> None:
    # Rank 0: row 1 twice, 1 + 2. Rank 1: row 1 with 4, row 3 with 8. Means 3.5 and 4, two steps.
    expected = [0.0, -7.0, 0.0, -8.0, 0.0]
    assert both(ranks, "sparse_rows") == expected
    assert both(ranks, "sparse_as_dense") == expected


def test_buckets_are_summed_while_gradients_are_computed(ranks: Ranks) -> None:
    # Rank r gives (i + i r, r) for i = 1, 2, 3, and rows 1 and 1 + r with 1 + r and 2 + 2 r.
    found = both(ranks, "overlapped")
    assert found["full"] == [[3.0, 1.0], [6.0, 1.0], [9.0, 1.0]]
    assert found["none"]
    assert found["rows"] == {"1": 1 + 2 + 2, "2": 4}
    assert found["operations"] == 2
    assert found["times_in_order"]


def test_gradients_are_rounded_on_the_wire_and_nothing_else(ranks: Ranks) -> None:
    # bfloat16 has 8 bits of precision: 1 + 2^-9 becomes 1.
    found = both(ranks, "narrow_on_the_wire")
    assert found["dtypes"] == ["float32"] * 3
    assert (found["full"], found["rows"]) == ([2.0], [1.0])
    assert found["few"] == [2 + 2**-8]


def test_apply_with_buckets_is_the_same_to_the_bit(ranks: Ranks) -> None:
    in_turn, overlapped = both(ranks, "overlapped_in_apply")
    assert overlapped == in_turn
    assert in_turn[3][1] != 0.0


def test_buckets_without_full_gradients_or_known_shapes(ranks: Ranks) -> None:
    # 3 + 4 in one row; rank 1's wish; 1 + 2, and 2 + 2 for each of three numbers.
    expected = [[7.0], True, [[3.0], [4.0, 4.0, 4.0]]]
    assert both(ranks, "overlapped_at_the_edges") == expected


def test_a_bucket_sent_before_its_gradient_is_whole_gives_another_sum(ranks: Ranks) -> None:
    # Both ranks give 1 + 2, whose sum is 6; sent after the first part it is 2, and 2 is added.
    assert both(ranks, "overlapped_too_early") == [4.0]


def test_adam_sees_a_repeated_row_once(ranks: Ranks) -> None:
    gathered, full = both(ranks, "adam_sparse")
    assert gathered == pytest.approx(full, abs=1e-7)
    assert gathered[1] != 0.0


def test_an_infinite_gradient_on_one_rank_skips_the_step_on_all(ranks: Ranks) -> None:
    # Scale 8 halves to 4; then the mean of 0 and 8, unscaled by 4, is applied.
    assert both(ranks, "one_rank_overflows") == [[[-1.0, 0.0]], 4.0]
    assert both(ranks, "one_rank_overflows_inside") == [[[-1.0, 0.0]], 4.0]


def test_other_settings_for_the_same_optimizer_are_refused(ranks: Ranks) -> None:
    assert "already distributed with other settings" in both(ranks, "settings_conflict")


def test_the_collective_tells_the_watchdog_and_happens_once_an_update(ranks: Ranks) -> None:
    # Two beats a reduction, 'communicate' then 'compute', from inside the graph.
    beats = both(ranks, "beats")
    assert beats["each"] == [2, 2, 2]
    assert beats["accumulated"] == [0, 2, 0, 2]
    assert beats["phase"] == "compute"
