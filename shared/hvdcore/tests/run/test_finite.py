"""A number that is not finite: the same line on every rank, with the ranks that have it."""

from __future__ import annotations

import math

import pytest

from hvdcore.errors import UserError
from hvdcore.run.finite import check_finite


def check(found: dict[str, float], ranks: list[bool]) -> None:
    check_finite(found, step=7, is_finite_here=True, gather=lambda _: ranks, hint="do this")


def test_finite_numbers_need_no_collective() -> None:
    def gather(flag: bool) -> list[bool]:
        raise AssertionError

    check_finite({"loss": 1e300}, step=1, is_finite_here=True, gather=gather, hint="")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_step_rank_and_hint_are_named(value: float) -> None:
    with pytest.raises(
        UserError, match=r"step 7: the gradient is not finite .* on rank 1; do this"
    ):
        check({"loss": 1.0, "gradient": value}, [True, False])
    with pytest.raises(UserError, match="on ranks 0, 1;"):
        check({"loss": value, "gradient": value}, [False, False])
    with pytest.raises(UserError, match=r"loss is not finite \([-a-z]+\); do this"):
        check({"loss": value}, [True, True])  # of the weights, which no batch is to blame for
