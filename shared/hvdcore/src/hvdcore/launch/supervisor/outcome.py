"""The outcome of one rank: when it counts as stuck, who is to blame, how its exit is read."""

from __future__ import annotations

import re
import signal
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hvdcore.errors import EXIT_USER_ERROR
from hvdcore.launch.supervisor.output import why_it_failed
from hvdcore.runtime.heartbeat import Beat
from hvdcore.runtime.process_limit import advice, is_reached

__all__ = [
    "EXIT_FAILED",
    "STOP_CODES",
    "Finding",
    "RankEnd",
    "Watch",
    "lost_another_rank",
    "read_outcome",
]

EXIT_FAILED = 1
STOP_CODES = (128 + signal.SIGTERM, 128 + signal.SIGINT)
"""Exit codes of a run that was asked to stop and saved a checkpoint: 143 and 130."""

# What a rank says when it fails because another one has gone. It is not the one to name.
_LOST_ANOTHER_RANK = re.compile(
    r"HorovodInternalError|Horovod has been shut down|An error occurred in MPI_|gloo::IoException"
    r"|gloo/transport|Connection (closed|reset) by peer|gloo::EnforceNotMet"
)
# Horovod's stall check, of a rank that the others have waited for too long.
_STALLED = re.compile(r"(\d+)!: \[(.*)\]")
_SHOWN_CHARACTERS = 100


@dataclass(frozen=True)
class RankEnd:
    """How a rank ended. `code` is 0, 1, 2, 130 or 143.

    `kind` is 'done', 'stopped-by-request', 'input' (the user's error), 'victim' (failed because
    another rank did) or the rank's own failure: 'failed', 'killed', 'hung', 'stopped', 'starved'.
    `signaled`: its host, and not the launcher, asked it to stop.
    """

    rank: int
    code: int
    kind: str
    reason: str = ""
    log: str = ""
    errors: tuple[str, ...] = ()
    signaled: bool = False

    @property
    def is_failure(self) -> bool:
        """True where the rank itself is to blame."""
        return self.kind in ("failed", "killed", "hung", "stopped", "starved")

    def line(self) -> str:
        """One line for the user that names the rank and its log."""
        return f"rank {self.rank} {self.reason} (log: {self.log})"

    def as_message(self) -> dict[str, Any]:
        """For the wire."""
        return {"type": "end", **asdict(self)}

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> RankEnd:
        """From the wire."""
        return cls(
            rank=int(message["rank"]),
            code=int(message["code"]),
            kind=str(message["kind"]),
            reason=str(message.get("reason", "")),
            log=str(message.get("log", "")),
            errors=tuple(map(str, message.get("errors", ()))),
            signaled=bool(message.get("signaled", False)),
        )


def lost_another_rank(text: str) -> bool:
    """Whether a rank's last words say that it failed only because another one had gone."""
    return _LOST_ANOTHER_RANK.search(text) is not None


def read_outcome(
    rank: int,
    code: int,
    tail: deque[str],
    *,
    log: str,
    asked_to_stop: int | None,
    errors: Iterable[str] = (),
) -> RankEnd:
    """Read the exit code (negative: a signal) and the last lines of a rank's process.

    `asked_to_stop` is the signal that its supervisor passed on to it, if any.
    """
    if code == 0:
        return RankEnd(rank, 0, "done", log=log)
    stop_code = 128 - code if code < 0 else code
    if stop_code in STOP_CODES and (code > 0 or -code == asked_to_stop):
        return RankEnd(rank, stop_code, "stopped-by-request", log=log)
    if asked_to_stop == signal.SIGINT and _was_interrupted(tail):
        return RankEnd(rank, 128 + signal.SIGINT, "stopped-by-request", log=log)
    if code == EXIT_USER_ERROR:
        return RankEnd(rank, code, "input", log=log, errors=tuple(errors))
    text = _waited_for(tail) or why_it_failed(tail)
    reason = f"failed: {text}" if text else _without_traceback(code, tail)
    evidence = f"{text} " + " ".join(list(tail)[-20:])
    if is_reached(evidence):
        reason += f": {advice()}"
    if _LOST_ANOTHER_RANK.search(evidence) and code != -signal.SIGKILL:
        return RankEnd(rank, EXIT_FAILED, "victim", reason, log)
    return RankEnd(rank, EXIT_FAILED, "killed" if code < 0 else "failed", reason, log)


def _was_interrupted(tail: Sequence[str]) -> bool:
    """Whether Python was asked to stop while it started: it then ends with code 1."""
    last = next((line for line in reversed(tail) if line.strip()), "")
    return last.rstrip() == "KeyboardInterrupt"


def _waited_for(tail: Iterable[str]) -> str:
    """The rank that did not come, from the words of Horovod's stall check: `1!: [operation]`."""
    matches = [match for line in tail if (match := _STALLED.match(line.strip()))]
    found = {match[1]: match[2] for match in matches}
    if not found:
        return ""
    ranks = ", ".join(sorted(found, key=int))
    return f"waited in vain for rank {ranks} in {next(iter(found.values()))[:_SHOWN_CHARACTERS]}"


def _without_traceback(code: int, tail: deque[str]) -> str:
    if code == -signal.SIGBUS:
        hint = "shared memory did not fit: is /dev/shm, TMPDIR or a disk with mapped files full?"
        return f"was killed by SIGBUS ({hint})"
    if code < 0:
        return f"was killed by {_signal_name(-code)}"
    last = next((line.strip() for line in reversed(tail) if line.strip()), "")
    return f"failed with exit code {code}" + (f": {last[:300]}" if last else "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# A supervisor that did not run for so long was itself stopped: what it did not see proves nothing.
_ASLEEP_SECONDS = 5.0
# A framework gives no heartbeat while it loads, which takes long from a shared or cold disk.
_START_SECONDS = 120.0


@dataclass(frozen=True)
class Finding:
    """Why a rank is given up: `kind` 'hung', 'stopped' or 'starved', and a clause for the user."""

    kind: str
    reason: str


class Watch:
    """Looks at a rank again and again. Times are seconds of a monotonic clock.

    Args:
        timeout: the longest time without a heartbeat, in seconds; in phase 'start' it
            is at least 120.
        alone: True when nobody compares the ranks, so that one that waits for others indefinitely
            must give up by itself, after twice the bound.
    """

    def __init__(self, timeout: float, *, alone: bool, now: float) -> None:
        self.timeout = timeout
        self.alone = alone
        self.beat = Beat(0, -1, "none", 0)
        self._beat_at = self._ran_at = self._looked_at = now

    def idle_seconds(self, now: float) -> float:
        """Seconds since the last beat."""
        return now - self._beat_at

    def look(self, beat: Beat, state: str, now: float) -> Finding | None:
        """Take in the last beat and the state letter of the process; a finding ends the rank."""
        if now - self._looked_at > _ASLEEP_SECONDS:
            self._beat_at = self._ran_at = now
        self._looked_at = now
        if beat != self.beat:
            self.beat, self._beat_at = beat, now
        if state not in ("T", "t"):
            self._ran_at = now
        return self._judge(now)

    def _judge(self, now: float) -> Finding | None:
        if now - self._ran_at > self.timeout:
            return Finding("stopped", f"stopped by a signal for more than {self.timeout:g} s")
        idle, beat = self.idle_seconds(now), self.beat
        if beat.number == 0:  # a program that knows nothing of heartbeats
            return None
        where = f"in phase '{beat.phase}'" + (f" of step {beat.step}" if beat.step >= 0 else "")
        bound = max(self.timeout, _START_SECONDS) if beat.phase == "start" else self.timeout
        if beat.phase != "communicate" and idle > bound:
            return Finding("hung", f"hung: no heartbeat for {bound:g} s {where}")
        if self.alone and beat.phase == "communicate" and idle > 2 * self.timeout:
            reason = f"waited more than {2 * self.timeout:g} s for the other ranks {where}"
            return Finding("starved", reason)
        return None
