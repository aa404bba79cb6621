"""A number that is not finite: the same line on every rank, with the ranks that have it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.run.finite import check_finite, rerun_command, shown_samples


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


def test_what_the_ranks_found_and_the_command() -> None:
    with pytest.raises(
        UserError,
        match=r"on rank 1 \(sample 4 of the train split, first in the output of a\); do this\."
        r" Earlier checkpoints are kept\. To make this step again: x train$",
    ):
        check_finite(
            {"gradient": math.nan}, step=7, is_finite_here=True, gather=lambda _: [True, True],
            hint="do this", rerun=lambda: "x train",
            explain=lambda: ["", f"{shown_samples([4])}, first in the output of a"],
        )  # fmt: skip


def test_samples_and_command_by_hand() -> None:
    assert shown_samples(range(9)) == "samples 0, 1, 2, 3, 4, 5, 6, 7 and 1 more of the train split"
    assert rerun_command("textgen", Path("a b"), 2, has_checkpoint=True, mirror=True) == (
        "textgen train --config 'a b/config.json' --output-dir 'a b-again' --resume 'a b' --np 2"
        " --mirror ''"
    )
    assert rerun_command("textgen", Path("r"), 1, has_checkpoint=False, mirror=False) == (
        "textgen train --config r/config.json --output-dir r-again"
    )
