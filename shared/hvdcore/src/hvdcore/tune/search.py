"""The search loop: starts trials, feeds the pruner, stops trials, reacts to signals."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hvdcore.errors import EXIT_USER_ERROR, UserError
from hvdcore.launch.supervisor.outcome import EXIT_FAILED, STOP_CODES
from hvdcore.runtime.signals import SignalInbox, wait_readable
from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.plan import Plan
from hvdcore.tune.study import Study
from hvdcore.tune.trial import Run, TrialRun, console_log, user_errors, why_it_ended
from hvdcore.tune.tunable import Objective

__all__ = [
    "Search",
    "hear",
    "settle",
]


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
        return UserError(f"tune: {trial.path} has no validation point; give the data a val split")
    else:
        reason = _reason(trial, code, objective)
        study.fail(number, seconds, reason, str(console_log(trial.path)))
    return None


def _reason(trial: Run, code: int, objective: Objective) -> str:
    if code == 0:
        return f"no validation point with a finite {objective.metric}"
    reason = why_it_ended(trial.path)
    known = code in (EXIT_FAILED, EXIT_USER_ERROR)
    return reason if known else f"ended with exit code {code}: {reason}"


_TICK_SECONDS = 0.25
# After the second signal a launcher ends its ranks within some five seconds.
_KILL_AFTER_SECONDS = 15.0

Start = Callable[[int, dict[str, object]], TrialRun]
"""Starts the trial of a number with its parameters; raises UserError where they do not fit."""


@dataclass
class Search:
    """Runs trials until there are enough, the time is up or a signal comes.

    Args:
        start: starts a trial.
        on_end: called with the number of each trial that has ended and is recorded.
        on_tick: called a few times a second.
    """

    plan: Plan
    folder: StudyFolder
    study: Study
    inbox: SignalInbox
    start: Start
    on_end: Callable[[int], None]
    on_tick: Callable[[int], None]
    num_parallel: int | None = None
    """Trials at a time; None is the plan's."""
    running: list[TrialRun] = field(default_factory=list)
    stop_signal: int | None = None
    user_error: UserError | None = None
    _num_signals: int = 0
    _kill_at: float = float("inf")

    def run(self) -> int | None:
        """Run to the end.

        Returns:
            None, or the signal that ended it, after the running trials were ended.

        Raises:
            UserError: the first trials found the shared configuration wrong.
        """
        limit = self.plan.limits.timeout
        deadline = time.monotonic() + limit if limit else float("inf")
        try:
            while True:
                self._take_signal()
                if time.monotonic() > deadline:
                    self._interrupt_all()
                elif not self._is_ending:
                    self._start_more()
                if not self.running:
                    break
                wait_readable([self.inbox.fd], _TICK_SECONDS)
                for trial in list(self.running):
                    self._look(trial)
                self.on_tick(len(self.running))
        finally:
            self._kill_what_runs()
        if self.user_error is not None and self.stop_signal is None:
            raise self.user_error
        return self.stop_signal

    @property
    def _is_ending(self) -> bool:
        return self.stop_signal is not None or self.user_error is not None

    def _start_more(self) -> None:
        while len(self.running) < (self.num_parallel or self.plan.num_parallel()):
            if len(self.study.counted(self.study.trials())) >= self.plan.limits.trials:
                return
            trial = self.study.ask()
            try:
                self.running.append(self.start(trial.number, dict(trial.params)))
            except UserError as error:
                self.study.fail(trial.number, 0.0, "; ".join(error.problems), None)
                self.on_end(trial.number)

    def _take_signal(self) -> None:
        number = self.inbox.take_stop_signal()
        if number is not None:
            self._num_signals += 1
            self.stop_signal = self.stop_signal or number
            if self._num_signals == 1:
                self._interrupt_all()
            else:
                self._kill_at = min(self._kill_at, time.monotonic() + _KILL_AFTER_SECONDS)
                for trial in self.running:
                    trial.is_interrupted = True
                    trial.stop()
        if self._num_signals > 2 or time.monotonic() > self._kill_at:
            self._kill_what_runs()

    def _interrupt_all(self) -> None:
        for trial in self.running:
            if not trial.is_interrupted and not trial.is_pruned:
                trial.is_interrupted = True
                trial.stop()

    def _look(self, trial: TrialRun) -> None:
        code = trial.exit_code()  # before reading: what it wrote last is then read too
        if hear(self.study, self.plan.objective, trial) and code is None:
            trial.stop()
        if code is not None:
            self.running.remove(trial)
            error = settle(self.study, self.plan.objective, trial, code)
            if error is not None:
                self.user_error = self.user_error or error
                self._interrupt_all()
            if self.user_error is None:  # else the one line is all that there is to say
                self.on_end(trial.number)

    def _kill_what_runs(self) -> None:
        if self.running:
            for trial in self.running:
                trial.kill()
            self.folder.end_all()
