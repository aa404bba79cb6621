"""The learning rate: exact at its ends, by hand in between."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvdcore.errors import UserError
from hvdcore.metrics.schedule import Shape, check_schedule, learning_rate_at


def rates(shape: Shape, **given: float) -> list[float]:
    """Rates of steps 0..12 with a warm-up of 4 steps in a run of 12."""
    numbers = {"peak": 1.0, "final_fraction": 0.1, **given}
    return [
        learning_rate_at(step, warmup_steps=4, total_steps=12, shape=shape, **numbers)
        for step in range(13)
    ]


def test_linear_by_hand() -> None:
    assert rates("linear", final_fraction=0.0) == [
        0.2, 0.4, 0.6, 0.8, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0,
    ]  # fmt: skip


def test_cosine_by_hand() -> None:
    got = rates("cosine", final_fraction=0.0)
    assert got[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert got[8] == pytest.approx(0.5)
    assert got[6] == pytest.approx(0.5 + math.sqrt(0.5) / 2)
    assert got[10] == pytest.approx(0.5 - math.sqrt(0.5) / 2)
    assert got[12] == 0.0


def test_constant_by_hand() -> None:
    assert rates("constant") == [0.2, 0.4, 0.6, 0.8, *([1.0] * 9)]


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_ends_are_exact(shape: Shape) -> None:
    got = rates(shape, peak=3e-4, final_fraction=0.1)
    assert got[4] == 3e-4
    assert got[12] == 3e-4 * 0.1
    after = learning_rate_at(
        99, peak=3e-4, warmup_steps=4, total_steps=12, final_fraction=0.1, shape=shape
    )
    assert after == 3e-4 * 0.1


def test_without_warm_up_the_first_step_is_at_the_peak() -> None:
    for shape in ("linear", "cosine", "constant"):
        rate = learning_rate_at(
            0, peak=0.5, warmup_steps=0, total_steps=1, final_fraction=0.0, shape=shape
        )
        assert rate == 0.5


@given(
    st.integers(0, 30), st.integers(1, 60), st.floats(0, 1), st.sampled_from(["linear", "cosine"])
)
def test_falls_after_the_peak_and_stays_in_bounds(
    warmup_steps: int, more: int, final_fraction: float, shape: Shape
) -> None:
    total = warmup_steps + more
    got = [
        learning_rate_at(
            step,
            peak=2.0,
            warmup_steps=warmup_steps,
            total_steps=total,
            final_fraction=final_fraction,
            shape=shape,
        )
        for step in range(total + 1)
    ]
    assert got[: warmup_steps + 1] == sorted(got[: warmup_steps + 1])
    falling = got[warmup_steps:]
    assert all(b <= a + 1e-12 for a, b in pairwise(falling))
    assert all(rate > 0 for rate in got[:-1])
    assert got[-1] == 2.0 * final_fraction
    assert max(got) == 2.0


def test_impossible_numbers_are_all_reported() -> None:
    with pytest.raises(UserError) as caught:
        check_schedule(peak=-1.0, warmup_steps=10, total_steps=10, final_fraction=2.0)
    assert caught.value.problems == (
        "learning_rate: got -1.0; give a number above 0",
        "warmup_steps: got 10 in a run of 10 steps; give at most 9",
        "final_fraction: got 2.0; give a number from 0 to 1",
    )
    check_schedule(peak=1.0, warmup_steps=9, total_steps=10, final_fraction=0.0)
    check_schedule(peak=1.0, warmup_steps=0, total_steps=0, final_fraction=0.0)
