"""Owns a job from the start of horovodrun to its verdict: hears ranks, passes signals, ends all."""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hvdcore.errors import EXIT_USER_ERROR
from hvdcore.launch.job.monitor import Monitor
from hvdcore.launch.job.verdict import Verdict
from hvdcore.launch.supervisor.outcome import EXIT_FAILED
from hvdcore.launch.supervisor.output import write_fd
from hvdcore.runtime.signal_inbox import SignalInbox
from hvdcore.runtime.signals import SAME_SIGNAL_SECONDS

__all__ = ["JobEnd", "RunningJob", "Starter"]

_TICK_SECONDS = 0.2
_ABORT_SECONDS = 5.0
_RANKS_OUTLIVE_LAUNCHER_SECONDS = 10.0
_SSH_FAILED = "could not connect to some hosts via ssh"


class Starter(Protocol):
    """What has started the ranks of a job and holds their processes."""

    name: str
    """For the user."""
    hosts: str

    @property
    def sockets(self) -> list[int]:
        """What to wait on for news."""
        ...

    def hear(self) -> None:
        """Take in what it has to say; called at least five times a second."""
        ...

    def exit_code(self) -> int | None:
        """None while it holds ranks."""
        ...

    def last_words(self) -> list[str]:
        """Lines for the user when nothing else explains a failure."""
        ...

    def end(self) -> None:
        """End it and all that it started."""
        ...


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Attributes:
        code: the exit code.
        asked: a signal to the launcher ended it.
        drained: it was asked to save and stop so that another one can go on.
        blamed: ranks to blame for a failure.
        signalled: ranks that their own host asked to stop.
    """

    code: int
    asked: bool = False
    drained: bool = False
    blamed: tuple[int, ...] = ()
    signalled: tuple[int, ...] = ()


class RunningJob:
    """Runs to the end.

    Args:
        start_timeout: seconds within which all ranks have to call.
        drain: asked again and again; True asks the ranks to save and stop.
    """

    def __init__(
        self,
        starter: Starter,
        monitor: Monitor,
        inbox: SignalInbox,
        start_timeout: float,
        drain: Callable[[], bool] | None = None,
    ) -> None:
        self.starter = starter
        self.monitor = monitor
        self.inbox = inbox
        self.start_timeout = start_timeout
        self._drain = drain
        self._drained = False
        self._started_at = time.monotonic()
        self._starter_ended_at: float | None = None
        self._stop_signal: int | None = None
        self._stop_signal_at = 0.0
        self._give_up = False

    def run(self) -> JobEnd:
        """Hear and watch until there is a verdict, tell it, and end what still runs."""
        try:
            while (verdict := self._verdict()) is None:
                self._hear()
                self._pass_on_signal()
                self._drain_if_wanted()
            write_fd(2, "".join(f"{line}\n" for line in verdict.lines).encode())
            self._end_ranks()
            asked, signalled = self._stop_signal is not None, self.monitor.job.signalled
            return JobEnd(verdict.code, asked, self._drained, verdict.ranks, signalled)
        finally:
            self.starter.end()

    def _hear(self) -> None:
        sockets = [*self.monitor.sockets, *self.starter.sockets, self.inbox.fd]
        select.select(sockets, [], [], _TICK_SECONDS)
        self.starter.hear()
        self.monitor.hear()

    def _pass_on_signal(self) -> None:
        """The first signal asks the ranks to save and stop; the second ends them.

        A scheduler signals a batch script and all that it has started, and the script passes on
        what it gets: that is one signal.
        """
        number, now = self.inbox.take_stop_signal(), time.monotonic()
        if number is None:
            return
        if self._stop_signal is not None and now - self._stop_signal_at < SAME_SIGNAL_SECONDS:
            return
        self._give_up = self._stop_signal is not None or not self.monitor.job.all_here
        # Ranks that save already take a second order as the one to end at once.
        if not self._drained or self._stop_signal is not None:
            self.monitor.order({"type": "stop", "signal": number})
        self._stop_signal, self._stop_signal_at = number, now

    def _drain_if_wanted(self) -> None:
        if self._drain is None or self._drained or self._stop_signal is not None:
            return
        if self.monitor.job.all_here and self._drain():
            self._drained = True
            self.monitor.order({"type": "stop", "signal": signal.SIGTERM})

    def _verdict(self) -> Verdict | None:
        if self._give_up and self._stop_signal is not None:
            return Verdict(128 + self._stop_signal)
        return self.monitor.verdict() or self._starter_ended() or self._late()

    def _starter_ended(self) -> Verdict | None:
        code = self.starter.exit_code()
        if code is None:
            return None
        now = time.monotonic()
        if self._starter_ended_at is None:
            self._starter_ended_at = now
        self.monitor.hear()
        wait = 0.0 if self.monitor.is_empty else _RANKS_OUTLIVE_LAUNCHER_SECONDS
        if now - self._starter_ended_at < wait:
            return None
        return self.monitor.verdict() or self._without_ranks(code)

    def _without_ranks(self, code: int) -> Verdict:
        words = self.starter.last_words()
        if any(_SSH_FAILED in word for word in words):
            line = f"error: --hosts: ssh to {self.starter.hosts} does not work without a password"
            return Verdict(EXIT_USER_ERROR, (f"{line}; set up keys",))
        when = "while ranks were running" if self.monitor.job.ranks else "before ranks could start"
        return Verdict(
            EXIT_FAILED, (*words, f"{self.starter.name} ended with exit code {code} {when}")
        )

    def _late(self) -> Verdict | None:
        job = self.monitor.job
        if job.all_here or time.monotonic() - self._started_at < self.start_timeout:
            return None
        late = tuple(rank for rank in range(job.size) if rank not in job.ranks)
        names = ", ".join(map(str, late))
        text = f"rank {names} did not start within {self.start_timeout:g} s (--start-timeout)"
        return Verdict(EXIT_FAILED, (*self.starter.last_words(), text), late)

    def _end_ranks(self) -> None:
        """Let those go that have ended, and end the others; all have told how when they leave."""
        job = self.monitor.job
        released = job.all_ended
        self.monitor.order({"type": "release" if released else "abort"})
        deadline = time.monotonic() + _ABORT_SECONDS
        while not self.monitor.is_empty and time.monotonic() < deadline:
            self._hear()
            if job.all_ended and not released:
                released = True
                self.monitor.order({"type": "release"})
