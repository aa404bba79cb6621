"""Owns how a trial is judged, and how its end is read: complete, pruned, interrupted, failed."""

from __future__ import annotations

import math

from hvdcore.errors import EXIT_USER_ERROR, UserError
from hvdcore.launch.supervisor.outcome import EXIT_FAILED, STOP_CODES
from hvdcore.tune.objective import Objective
from hvdcore.tune.study import Study
from hvdcore.tune.trial import Run, console_log, user_errors, why_it_ended

__all__ = ["hear", "settle"]


def hear(study: Study, objective: Objective, trial: Run) -> bool:
    """Take in the val points that a trial has written since; whether it just turned out poor.

    A trial is judged by its values alone, up to the first point at which it is not promising, and
    not by how fast it ran on from there: else one seed would not give one sequence. A trial that
    diverged is not promising.
    """
    record = study.record(trial.number)
    was_pruned = trial.is_pruned
    for point, value in trial.new_values(objective):
        if trial.is_pruned:
            trial.went_on = True
            break
        if math.isfinite(value):
            record.report(value, point)
        is_poor = record.should_prune() if math.isfinite(value) else study.prunes
        trial.is_pruned = is_poor and not trial.is_interrupted
    return trial.is_pruned and not was_pruned


def settle(study: Study, objective: Objective, trial: Run, code: int) -> UserError | None:
    """Record how the trial ended.

    Args:
        code: its launcher's exit code.

    Returns:
        The user's error, when nothing says that it lies in this trial's values alone: no trial of
        the study has finished yet. The trial then counts as interrupted.
    """
    number, seconds = trial.number, trial.seconds
    value = objective.best(study.values(number))
    if trial.is_pruned and (code in STOP_CODES or (code == 0 and trial.went_on)):
        study.prune(number, seconds)
    elif code == 0 and value is not None:
        study.complete(number, value, seconds)
    elif trial.is_interrupted and code != EXIT_USER_ERROR:
        study.interrupt(number, seconds)
    elif code == EXIT_USER_ERROR and not study.has_finished():
        study.interrupt(number, seconds)
        return user_errors(trial.path)
    elif code == 0 and not trial.seen and not study.has_finished():
        study.interrupt(number, seconds)
        return UserError(f"tune: {trial.path} has no val point; give the data a val part")
    else:
        reason = _reason(trial, code, objective)
        study.fail(number, seconds, reason, str(console_log(trial.path)))
    return None


def _reason(trial: Run, code: int, objective: Objective) -> str:
    if code == 0:
        return f"no val point with a finite {objective.metric}"
    reason = why_it_ended(trial.path)
    known = code in (EXIT_FAILED, EXIT_USER_ERROR)
    return reason if known else f"ended with exit code {code}: {reason}"
