"""The files of a study for programs: tuning.json, and best.toml for `train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hvdcore.config import dump_toml
from hvdcore.files.atomic import write_bytes_atomically
from hvdcore.files.json_files import write_json_atomically
from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.plan import Plan
from hvdcore.tune.study import INTERRUPTED, REPEATS, reported
from hvdcore.tune.tunable import Objective

__all__ = ["TrialRow", "best_row", "failure_text", "params_text", "trial_rows", "write_results"]

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


@dataclass(frozen=True)
class TrialRow:
    """A trial.

    Attributes:
        state: complete, pruned, failed, interrupted or running.
        value: the best value on val; of a pruned one, until it was stopped.
        seconds: from its launch to its end; None while it runs, or where its tuner was killed.
        run: its run directory, below the study's.
        points: its values on val, in order.
        repeats: number of the interrupted trial whose parameters it tries again.
        reason, log: why it failed, and where to read more.
    """

    number: int
    state: str
    value: float | None
    params: Mapping[str, Any]
    seconds: float | None
    run: str
    points: Sequence[float] = field(default_factory=tuple)
    repeats: int | None = None
    reason: str | None = None
    log: str | None = None


def trial_rows(
    trials: Sequence[FrozenTrial], folder: StudyFolder, objective: Objective
) -> list[TrialRow]:
    """All trials as rows, by number."""
    return [_row(trial, folder, objective) for trial in trials]


def _row(trial: FrozenTrial, folder: StudyFolder, objective: Objective) -> TrialRow:
    told = trial.user_attrs
    points = reported(trial)
    is_complete = trial.state == TrialState.COMPLETE
    return TrialRow(
        number=trial.number,
        state="interrupted" if told.get(INTERRUPTED) else _STATES[trial.state],
        value=trial.value if is_complete else objective.best(points),
        params=trial.params,
        seconds=told.get("seconds"),
        run=folder.trial(trial.number).relative_to(folder.path).as_posix(),
        points=points,
        repeats=told.get(REPEATS),
        reason=told.get("reason"),
        log=told.get("log"),
    )


def failure_text(row: TrialRow) -> str:
    """Why a trial failed and where its log is; empty where it did not."""
    if row.reason is None:
        return ""
    return f"{row.reason}; log: {row.log}" if row.log else row.reason


def best_row(rows: Sequence[TrialRow], objective: Objective) -> TrialRow | None:
    """The best of the complete trials, the first of equals; None when there is none."""
    best: TrialRow | None = None
    for row in rows:
        if row.state == "complete" and row.value is not None:
            than = None if best is None else best.value
            if than is None or objective.is_better(row.value, than):
                best = row
    return best


def params_text(params: Mapping[str, Any]) -> str:
    """`learning_rate 0.00213, mixup 0.5`."""
    return ", ".join(f"{name} {shown(value)}" for name, value in sorted(params.items()))


def shown(value: Any) -> str:
    """A value in a table: numbers with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_results(folder: StudyFolder, plan: Plan, rows: Sequence[TrialRow]) -> TrialRow | None:
    """Write tuning.json, and best.toml when a trial is complete; the best trial.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    best = best_row(rows, plan.objective)
    values = {
        "schema": 1,
        "package": plan.tunable.package,
        "objective": plan.objective.metric,
        "direction": plan.objective.direction,
        "seed": plan.seed,
        "size": plan.limits.np,
        "best": None if best is None else best.number,
        "trials": [asdict(row) for row in rows],
    }
    write_json_atomically(folder.results, values)
    if best is not None:
        text = f"# Trial {best.number} of {folder.path.name}: {plan.objective.metric}"
        text += f" {best.value} on val.\n{dump_toml(plan.config(best.params))}"
        write_bytes_atomically(folder.best, text.encode())
    return best
