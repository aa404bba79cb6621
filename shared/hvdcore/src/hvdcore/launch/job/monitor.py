"""The launcher's side of the conversation with the supervisors, and the verdict over a job."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from hvdcore.errors import EXIT_USER_ERROR
from hvdcore.launch.job.stacks import StacksRound
from hvdcore.launch.supervisor.channel import Channel, Listener, Message
from hvdcore.launch.supervisor.outcome import EXIT_FAILED, STOP_CODES, RankEnd

__all__ = [
    "MAX_STRANGERS",
    "Job",
    "Monitor",
    "RankView",
    "Verdict",
]

# Ranks find the same wrong input within moments of each other; the user wants to read it once.
_SAME_INPUT_SECONDS = 2.0
MAX_STRANGERS = 512
"""Callers that have not yet said who they are."""
# A rank says who it is as soon as it is connected.
_HELLO_SECONDS = 10.0
_HELLO_IN_A_CROWD_SECONDS = 1.0
# A rank that lost another one may notice before the launcher hears of the loss itself.
_VICTIM_SECONDS = 5.0
# Supervisors report twice a second.
_SILENT_SECONDS = 5.0


@dataclass
class RankView:
    """What the launcher knows of one rank. Times are seconds of a monotonic clock."""

    rank: int
    heard_at: float
    phase: str = "none"
    beats: int = 0
    idle: float = 0.0
    log: str = ""
    end: RankEnd | None = None
    end_at: float = 0.0
    met_at: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """How the job ends: exit code, the lines that tell the user why, and the ranks to blame."""

    code: int
    lines: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    is_hang: bool = False


class Job:
    """Collects what `size` ranks tell, and judges. `timeout` is the stall time-out in seconds."""

    def __init__(self, size: int, timeout: float) -> None:
        self.size = size
        self.timeout = timeout
        self.ranks: dict[int, RankView] = {}

    @property
    def all_here(self) -> bool:
        """Every rank has called."""
        return len(self.ranks) == self.size

    @property
    def all_ended(self) -> bool:
        """Every rank has reported how it ended."""
        return self.all_here and all(view.end for view in self.ranks.values())

    @property
    def signaled(self) -> tuple[int, ...]:
        """Ranks whose own host asked them to stop."""
        return tuple(sorted(v.rank for v in self.ranks.values() if v.end and v.end.signaled))

    def end(self, end: RankEnd, now: float) -> None:
        """A rank has ended. Its first word counts."""
        view = self.ranks.setdefault(end.rank, RankView(end.rank, now))
        if view.end is None:
            view.end, view.end_at = end, now

    def lost(self, rank: int, now: float) -> None:
        """The line to a rank's supervisor broke before it reported how the rank ended."""
        log = self.ranks[rank].log
        reason = "is gone: its supervisor was killed, or its host does not answer"
        self.end(RankEnd(rank, EXIT_FAILED, "killed", reason, log), now)

    def verdict(self, now: float) -> Verdict | None:
        """The verdict, or None while the job runs."""
        ended = [v for v in self.ranks.values() if v.end]
        ended.sort(key=lambda view: view.end_at)
        failures = [v.end for v in ended if v.end and v.end.is_failure]
        if failures:
            first = failures[0]
            is_hang = first.kind in ("hung", "stopped", "starved")
            return Verdict(EXIT_FAILED, (first.line(),), (first.rank,), is_hang)
        return (
            self._input_verdict(ended, now)
            or self._victim_verdict(ended, now)
            or self._stall_verdict(now)
            or self._good_verdict(ended)
        )

    def _input_verdict(self, ended: list[RankView], now: float) -> Verdict | None:
        wrong = [v for v in ended if v.end and v.end.kind == "input"]
        if not wrong:
            return None
        if any(v.rank == 0 for v in wrong):  # rank 0 has shown its errors itself
            return Verdict(EXIT_USER_ERROR)
        if now - wrong[0].end_at < _SAME_INPUT_SECONDS and not self.all_ended:
            return None
        first = wrong[0].end
        assert first is not None
        lines = tuple(f"[rank {first.rank}] {line}" for line in first.errors)
        return Verdict(EXIT_USER_ERROR, lines or (first.line(),))

    def _victim_verdict(self, ended: list[RankView], now: float) -> Verdict | None:
        victims = [v for v in ended if v.end and v.end.kind == "victim"]
        if not victims or (now - victims[0].end_at < _VICTIM_SECONDS and not self.all_ended):
            return None
        first = victims[0].end
        assert first is not None
        return Verdict(EXIT_FAILED, (first.line(),))

    def _stall_verdict(self, now: float) -> Verdict | None:
        running = [v for v in self.ranks.values() if v.end is None]
        for view in running:
            if now - view.heard_at > self.timeout:
                line = f"rank {view.rank} does not answer for {self.timeout:g} s (log: {view.log})"
                return Verdict(EXIT_FAILED, (line,), (view.rank,), is_hang=True)
        waiting = [
            v
            for v in running
            if v.phase == "communicate" and v.idle + now - v.heard_at > 2 * self.timeout
        ]
        if not running or len(waiting) < len(running) or not self.all_here:
            return None
        names = ", ".join(str(v.rank) for v in waiting)
        logs = ", ".join(v.log for v in waiting)
        text = f"ranks {names} wait for each other for more than {2 * self.timeout:g} s"
        line = f"{text}: do all ranks make the same calls? (logs: {logs})"
        return Verdict(EXIT_FAILED, (line,), is_hang=True)

    def _good_verdict(self, ended: list[RankView]) -> Verdict | None:
        if not self.all_ended:
            return None
        codes = [v.end.code for v in ended if v.end]
        stopped = [code for code in codes if code in STOP_CODES]
        return Verdict(stopped[0] if stopped else max(codes))


class Monitor:
    """Hears every rank, shows what they say, and passes orders on.

    Args:
        listener: where the supervisors call.
        size: number of ranks expected.
        timeout: stall time-out in seconds.
        show: puts bytes on console stream 1 or 2.
        tell_silent: say so, once, where ranks give no heartbeat within the stall time-out.
    """

    def __init__(
        self,
        listener: Listener,
        size: int,
        timeout: float,
        show: Callable[[int, bytes], None],
        *,
        tell_silent: bool = False,
    ) -> None:
        self._tell_silent = tell_silent
        self.job = Job(size, timeout)
        self.listener = listener
        self.show = show
        self._strangers: dict[Channel, float] = {}  # since when, the oldest first
        self._channels: dict[int, Channel] = {}
        self._warnings: set[bytes] = set()
        self.stacks = StacksRound(self.order)

    @property
    def sockets(self) -> list[int]:
        """What to wait on for news."""
        channels = [*self._strangers, *self._channels.values()]
        return [self.listener.sock.fileno(), *(c.sock.fileno() for c in channels)]

    @property
    def is_empty(self) -> bool:
        """No supervisor is connected."""
        return not self._channels

    def hear(self) -> None:
        """Take in everything that has arrived."""
        now = time.monotonic()
        self._accept(now)
        for stranger, since in list(self._strangers.items()):
            self._meet(stranger, since, now)
        for rank, channel in list(self._channels.items()):
            channel.flush()
            self._take(rank, channel, channel.receive(), now)
        self._tell_of_silent_ranks(now)
        self.stacks.look(now)

    def ask_for_stacks(self, listener: Channel | None = None) -> None:
        """Have every rank that runs say where it stands; `stacks` collects what they answer.

        Args:
            listener: a caller who gets the answers.
        """
        now, views = time.monotonic(), self.job.ranks
        # A supervisor that is stopped itself, or lost, would only be waited for.
        running = [
            rank
            for rank in self._channels
            if views[rank].end is None and now - views[rank].heard_at < _SILENT_SECONDS
        ]
        self.stacks.begin(running, listener)

    def _tell_of_silent_ranks(self, now: float) -> None:
        silent = [
            view.rank
            for view in self.job.ranks.values()
            if view.end is None and view.beats == 0 and now - view.met_at > self.job.timeout
        ]
        if not self._tell_silent or not silent:
            return
        self._tell_silent = False
        names = ", ".join(map(str, sorted(silent)))
        self.show(
            2,
            f"warning: rank {names} gives hvdcore no sign of life, as a program without"
            " hvdcore.torch or hvdcore.keras; --stall-timeout bounds only how long ranks wait"
            " for each other in Horovod's operations\n".encode(),
        )

    def _accept(self, now: float) -> None:
        """Take in who calls. Where there are too many, those that stay silent make room."""
        while True:
            if len(self._strangers) >= MAX_STRANGERS:
                oldest, since = next(iter(self._strangers.items()))
                if now - since < _HELLO_IN_A_CROWD_SECONDS:
                    return  # the others wait in the kernel's queue
                self._hang_up(oldest)
            channel = self.listener.accept()
            if channel is None:
                return
            channel.expect_hello(True)
            self._strangers[channel] = now
            self._meet(channel, now, now)

    def _hang_up(self, stranger: Channel) -> None:
        del self._strangers[stranger]
        stranger.close()

    def _meet(self, stranger: Channel, since: float, now: float) -> None:
        messages = stranger.receive()
        if not messages:
            if not stranger.open or now - since > _HELLO_SECONDS:
                self._hang_up(stranger)
            return
        hello, *rest = messages
        if hello.get("type") == "ask-stacks" and self.listener.admits(hello):
            del self._strangers[stranger]
            self.ask_for_stacks(stranger)
            return
        rank = hello.get("rank")
        good = hello.get("type") == "hello" and self.listener.admits(hello)
        if not good or type(rank) is not int or rank in self._channels:
            self._hang_up(stranger)
            return
        del self._strangers[stranger]
        stranger.expect_hello(False)
        self._channels[rank] = stranger
        self.job.ranks[rank] = RankView(rank, now, met_at=now)
        self._take(rank, stranger, rest, now)

    def _take(self, rank: int, channel: Channel, messages: list[Message], now: float) -> None:
        view = self.job.ranks[rank]
        for message in messages:
            view.heard_at = now
            with contextlib.suppress(LookupError, TypeError, ArithmeticError, ValueError):
                self._one(view, message, now)
        if not channel.open:
            channel.close()
            del self._channels[rank]
            self.stacks.lost(rank)
            if view.end is None:
                self.job.lost(rank, now)

    def _one(self, view: RankView, message: Message, now: float) -> None:
        kind = message["type"]
        if kind == "console":
            text = str(message["text"]).encode("utf-8", "surrogateescape")
            self._show(int(message["fd"]), text)
        elif kind == "state":
            view.phase, view.beats = str(message["phase"]), int(message["beats"])
            view.idle, view.log = float(message["idle"]), str(message["log"])
        elif kind == "end":
            self.job.end(RankEnd.from_message(message), now)
            self.stacks.lost(view.rank)
        elif kind == "stacks":
            self.stacks.answer(view.rank, message)
        elif kind == "given-up":
            self.ask_for_stacks()

    def _show(self, fd: int, raw: bytes) -> None:
        """All ranks often warn of the same thing; the user reads it once."""
        if raw.startswith(b"[rank "):
            text = raw.partition(b"] ")[2]
            if text in self._warnings:
                return
            self._warnings.add(text)
        elif raw.startswith(b"warning: "):
            self._warnings.add(raw)
        self.show(1 if fd == 1 else 2, raw)

    def order(self, message: Message) -> None:
        """Tell every rank."""
        for channel in self._channels.values():
            channel.send(message)

    def verdict(self) -> Verdict | None:
        """The verdict over the job so far, None while it runs."""
        return self.job.verdict(time.monotonic())

    def close(self) -> None:
        """Hang up. Supervisors that are still there take it as the order to end."""
        for channel in [*self._strangers, *self._channels.values()]:
            channel.close()
        self._channels.clear()
        self.stacks.close()
        self.listener.close()
