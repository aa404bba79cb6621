"""Before and between searches: what is refused, and what a killed tuner left is taken up."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hvdcore.errors import UserError
from hvdcore.run.run_dir import RunDir
from hvdcore.tune.command import tune_command
from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.plan import Limits, Plan
from hvdcore.tune.tunable import Tunable

PlanOf = Callable[..., Plan]


def flags(**given: Any) -> dict[str, Any]:
    names = (*Limits.model_fields, "objective", "space", "config", "output_dir", "rate")
    return {**dict.fromkeys(names), **given}


def test_without_optuna_the_extra_is_named(
    tunable: Tunable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError) as caught:
        tune_command(tunable, flags())
    assert caught.value.problems == (
        "tune: Optuna is not installed; pip install './packages/trainer[tune]'",
    )


def test_it_starts_its_ranks_itself(tunable: Tunable, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    for name, value in (("RANK", "0"), ("SIZE", "2")):
        monkeypatch.setenv(f"HOROVOD_{name}", value)
    with pytest.raises(UserError, match="run it without a launcher, with --np"):
        tune_command(tunable, flags())


def left_running(plan: Plan, folder: StudyFolder) -> list[dict[str, Any]]:
    """Three trials that a killed tuner recorded as running; their parameters."""
    from hvdcore.tune.study import Study

    with (
        folder.taken(plan.fingerprint()),
        Study(folder.storage, plan.space, direction="minimize", seed=0) as study,
    ):
        return [dict(study.ask().params) for _ in range(3)]


def test_what_a_killed_tuner_left_is_taken_up(plan_of: PlanOf, tmp_path: Path) -> None:
    """A trial that came to its end is complete; the others are tried again, each once."""
    pytest.importorskip("optuna")
    from hvdcore.tune.progress import SearchProgress
    from hvdcore.tune.session import Session

    plan, folder = plan_of(), StudyFolder(tmp_path / "study")
    params = left_running(plan, folder)
    for number, is_done in ((0, False), (1, True)):
        run = RunDir.create(folder.trial(number), "hvdcore", {})
        for step, loss in ((0, 0.01), (1, 0.7), (2, 0.6)):
            run.append_metrics({"step": step, "epoch": 0, "split": "val", "loss": loss})
        if is_done:
            run.write_json("report.json", {})
    for _ in range(2):  # the second time nothing is left to do
        with folder.taken(plan.fingerprint()), Session(plan, folder) as session:
            session._take_up(SearchProgress(8, "loss", 1))
            rows = session.rows()
            waiting = session.study.optuna.get_trials()[3:]
        assert [row.state for row in rows] == ["interrupted", "complete", "interrupted"]
        assert (rows[1].value, list(rows[1].points)) == (0.6, [0.7, 0.6])
        again = [trial.system_attrs["fixed_params"] for trial in waiting]
        assert again == [params[0], params[2]]
