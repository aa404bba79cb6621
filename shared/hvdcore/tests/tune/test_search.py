"""The search itself: it finds a known best, by the same way each time, and loses nothing."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from hvdcore.errors import UserError

if TYPE_CHECKING:
    from conftest import FakeRun, Laboratory


def params_of(rows: list[Any]) -> list[dict[str, Any]]:
    return [dict(row.params) for row in rows]


def states(rows: list[Any]) -> list[str]:
    return [row.state for row in rows]


def test_it_finds_the_known_best(laboratory: Laboratory, plan_of: Any) -> None:
    _, rows = laboratory.run(plan_of(trials=28))
    best = min((row for row in rows if row.state == "complete"), key=lambda row: row.value)
    assert best.params["kind"] == "a"
    assert best.params["rate"] == pytest.approx(0.3, abs=0.03)
    assert best.value == pytest.approx(0.25, abs=0.001)
    # What the search saw of the space later is nearer to the best than what it saw first.
    far = [abs(row.params["rate"] - 0.3) for row in rows]
    assert sum(far[-10:]) < sum(far[:10])


def test_more_may_be_better(laboratory: Laboratory, plan_of: Any) -> None:
    laboratory.values = lambda params: [1 - (params["rate"] - 0.8) ** 2]
    _, rows = laboratory.run(plan_of(trials=20, objective="accuracy"))
    best = max(rows, key=lambda row: row.value)
    assert best.params["rate"] == pytest.approx(0.8, abs=0.05)


def test_one_seed_is_one_sequence(laboratory: Laboratory, plan_of: Any) -> None:
    """In one call or in several: `--trials` is the total, and the sampler does not begin again."""
    _, whole = laboratory.run(plan_of(trials=13))
    laboratory.path = laboratory.path.with_name("parts")
    for trials in (3, 3, 11, 13):
        _, rows = laboratory.run(plan_of(trials=trials))
        assert len(rows) == trials
    assert params_of(rows) == params_of(whole)
    assert [row.value for row in rows] == [row.value for row in whole]
    laboratory.path = laboratory.path.with_name("other")
    _, other = laboratory.run(plan_of(trials=1, seed=1))
    assert params_of(other)[0] != params_of(rows)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_and_the_next_call_tries_their_values_again(
    laboratory: Laboratory, plan_of: Any, number: int
) -> None:
    _, whole = laboratory.run(plan_of(trials=12))
    laboratory.path = laboratory.path.with_name("stopped")

    def strike(run: FakeRun) -> None:
        if run.number == 5 and run.seen == 2 and not run.stops:
            os.kill(os.getpid(), number)

    laboratory.on_look = strike
    ended_by, rows = laboratory.run(plan_of(trials=12))
    assert ended_by == number
    assert states(rows)[5:] == ["interrupted"]
    laboratory.on_look = lambda run: None
    ended_by, rows = laboratory.run(plan_of(trials=12))
    assert ended_by is None
    assert (rows[6].repeats, rows[6].params) == (5, rows[5].params)
    kept = [row for row in rows if row.state != "interrupted"]
    assert params_of(kept) == params_of(whole)
    assert states(kept) == states(whole)


def test_values_of_an_interrupted_trial_are_queued_once(
    laboratory: Laboratory, plan_of: Any
) -> None:
    """However often a call is stopped before it comes to them."""
    laboratory.values = lambda params: [1.0] * 3
    laboratory.on_look = lambda run: os.kill(os.getpid(), signal.SIGTERM)
    rows: list[Any] = []
    for _ in range(3):
        _, rows = laboratory.run(plan_of(trials=2))
    assert states(rows) == ["interrupted"] * 3
    assert [row.repeats for row in rows] == [None, 0, 1]
    laboratory.on_look = lambda run: None
    _, rows = laboratory.run(plan_of(trials=2))
    assert states(rows)[3:] == ["complete", "complete"]
    assert rows[3].params == rows[0].params != rows[4].params


def test_what_is_not_promising_is_stopped(laboratory: Laboratory, plan_of: Any) -> None:
    """From the second point on, once four trials are complete, against their median there."""
    _, rows = laboratory.run(plan_of(trials=12))
    pruned = [row for row in rows if row.state == "pruned"]
    assert pruned
    assert all(row.number >= 4 and 2 <= len(row.points) < 4 for row in pruned)
    for row in pruned:
        complete = [r for r in rows[: row.number] if r.state == "complete"]
        at_point = sorted(r.points[len(row.points) - 1] for r in complete)
        assert row.points[-1] > at_point[(len(at_point) - 1) // 2]
    assert all(row.value == min(row.points) for row in pruned)


def test_pruning_does_not_depend_on_how_far_trials_ran_ahead(
    laboratory: Laboratory, plan_of: Any
) -> None:
    _, rows = laboratory.run(plan_of(trials=14))
    laboratory.path, laboratory.burst = laboratory.path.with_name("burst"), True
    _, burst = laboratory.run(plan_of(trials=14))
    assert "pruned" in states(rows)
    assert states(burst) == states(rows)
    assert params_of(burst) == params_of(rows)
    assert [row.points for row in burst] == [row.points for row in rows]


def test_control_without_a_pruner_all_run_to_the_end(laboratory: Laboratory, plan_of: Any) -> None:
    _, rows = laboratory.run(plan_of(trials=8, pruner="none"))
    assert states(rows) == ["complete"] * 8
    assert all(len(row.points) == 4 for row in rows)


def test_halving_stops_trials_too(laboratory: Laboratory, plan_of: Any) -> None:
    _, rows = laboratory.run(plan_of(trials=12, pruner="halving"))
    assert "pruned" in states(rows)


def test_a_trial_that_fails_is_recorded_and_the_rest_goes_on(
    laboratory: Laboratory, plan_of: Any
) -> None:
    laboratory.code = lambda params: 1 if params["kind"] == "b" else 0
    _, rows = laboratory.run(plan_of(trials=10, pruner="none"))
    assert {(row.state, row.params["kind"]) for row in rows} == {("failed", "b"), ("complete", "a")}
    failed = next(row for row in rows if row.state == "failed")
    assert failed.log.endswith(f"trials/{failed.number:04d}/logs/console.log")
    assert failed.reason == "it printed nothing"


def test_a_loss_that_is_never_finite_is_a_failure(
    laboratory: Laboratory, plan_of: Any, nan: float
) -> None:
    laboratory.values = lambda params: [nan, nan]
    _, rows = laboratory.run(plan_of(trials=2, pruner="none"))
    assert states(rows) == ["failed", "failed"]
    assert rows[0].reason == "no validation point with a finite loss"


def test_a_trial_that_diverges_is_stopped(laboratory: Laboratory, plan_of: Any, nan: float) -> None:
    laboratory.values = lambda params: [1.0, 1.0, 1.0] if len(laboratory.started) < 6 else [nan] * 9
    _, rows = laboratory.run(plan_of(trials=8))
    assert states(rows) == [*["complete"] * 5, *["pruned"] * 3]
    assert [row.value for row in rows[5:]] == [None] * 3


def test_values_that_do_not_fit_together_are_that_trials_failure(
    laboratory: Laboratory, plan_of: Any
) -> None:
    laboratory.refuse = "rate: does not fit"
    _, rows = laboratory.run(plan_of(trials=2))
    assert [(row.state, row.reason, row.log) for row in rows] == [
        ("failed", "rate: does not fit", None)
    ] * 2


def test_a_user_error_in_the_first_trial_ends_the_search(
    laboratory: Laboratory, plan_of: Any
) -> None:
    laboratory.code = lambda params: 2
    with pytest.raises(UserError):
        laboratory.run(plan_of(trials=3))
    assert len(laboratory.started) == 1
    laboratory.code = lambda params: 0  # the user has mended it: nothing is lost
    _, rows = laboratory.run(plan_of(trials=3))
    assert states(rows) == ["interrupted", *["complete"] * 3]


def test_a_user_error_after_a_good_trial_is_that_trials_own(
    laboratory: Laboratory, plan_of: Any
) -> None:
    laboratory.code = lambda params: 2 if len(laboratory.started) == 3 else 0
    _, rows = laboratory.run(plan_of(trials=4))
    assert states(rows) == ["complete", "complete", "failed", "complete"]


def test_several_at_once(laboratory: Laboratory, plan_of: Any) -> None:
    _, rows = laboratory.run(plan_of(trials=11, parallel_trials=3))
    assert len(rows) == 11
    assert laboratory.most_at_once == 3
    assert len({row.params["rate"] for row in rows}) == 11


def test_the_time_is_up(laboratory: Laboratory, plan_of: Any) -> None:
    """Running trials are stopped and repeated by the next call; no signal is reported."""
    laboratory.values = lambda params: [1.0] * 1_000_000
    ended_by, rows = laboratory.run(plan_of(trials=5, timeout=0.3, parallel_trials=2))
    assert ended_by is None
    assert states(rows) == ["interrupted", "interrupted"]
