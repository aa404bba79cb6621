"""Owns the search while it runs: starts trials, feeds the pruner, ends them, hears signals."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hvdcore.errors import UserError
from hvdcore.runtime.signal_inbox import SignalInbox
from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.plan import Plan
from hvdcore.tune.settle import hear, settle
from hvdcore.tune.study import Study
from hvdcore.tune.trial import TrialRun

__all__ = ["Search"]

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
                select.select([self.inbox.fd], [], [], _TICK_SECONDS)
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
