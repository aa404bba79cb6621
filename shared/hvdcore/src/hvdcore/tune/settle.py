"""Owns how a trial's end is read: complete, pruned, interrupted, failed, or the user's error."""

from __future__ import annotations

from hvdcore.errors import EXIT_USER_ERROR, UserError
from hvdcore.outcome import EXIT_FAILED, STOP_CODES
from hvdcore.tune.objective import Objective
from hvdcore.tune.study import Study
from hvdcore.tune.trial_run import TrialRun, console_log, user_errors, why_it_ended

__all__ = ["settle"]


def settle(study: Study, objective: Objective, trial: TrialRun, code: int) -> UserError | None:
    """Record how the trial ended.

    Args:
        code: its launcher's exit code.

    Returns:
        The user's error, when nothing says that it lies in this trial's values alone: no trial of
        the study has finished yet. The trial then counts as interrupted.
    """
    number, seconds = trial.number, trial.seconds
    value = objective.best(study.values(number))
    if code == 0 and value is not None:
        study.complete(number, value, seconds)
    elif code in STOP_CODES and trial.is_pruned:
        study.prune(number, seconds)
    elif trial.is_interrupted and code != EXIT_USER_ERROR:
        study.interrupt(number, seconds)
    elif code == EXIT_USER_ERROR and not study.has_finished():
        study.interrupt(number, seconds)
        return user_errors(trial.path)
    elif code == 0 and not study.values(number) and not study.has_finished():
        study.interrupt(number, seconds)
        return UserError(f"tune: {trial.path} has no val point; give the data a val part")
    else:
        reason = _reason(trial, code, objective)
        study.fail(number, seconds, reason, str(console_log(trial.path)))
    return None


def _reason(trial: TrialRun, code: int, objective: Objective) -> str:
    if code == 0:
        return f"no val point with a finite {objective.metric}"
    reason = why_it_ended(trial.path)
    known = code in (EXIT_FAILED, EXIT_USER_ERROR)
    return reason if known else f"ended with exit code {code}: {reason}"
