"""Owns how the end of one rank's process is read: what happened, and the code to leave with."""

from __future__ import annotations

import re
import signal
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from hvdcore.errors import EXIT_USER_ERROR
from hvdcore.launch.supervisor.output import why_it_failed

__all__ = ["EXIT_FAILED", "STOP_CODES", "RankEnd", "judge_end"]

EXIT_FAILED = 1
STOP_CODES = (128 + signal.SIGTERM, 128 + signal.SIGINT)
"""Exit codes of a run that was asked to stop and saved a checkpoint: 143 and 130."""

# What a rank says when it fails because another one has gone. It is not the one to name.
_LOST_ANOTHER_RANK = re.compile(
    r"HorovodInternalError|Horovod has been shut down|An error occurred in MPI_|gloo::IoException"
    r"|gloo/transport|Connection (closed|reset) by peer|gloo::EnforceNotMet"
)


@dataclass(frozen=True)
class RankEnd:
    """How a rank ended. `code` is 0, 1, 2, 130 or 143.

    `kind` is 'done', 'stopped-by-request', 'input' (the user's error), 'victim' (failed because
    another rank did) or the rank's own failure: 'failed', 'killed', 'hung', 'stopped', 'starved'.
    `signalled`: its host, and not the launcher, asked it to stop.
    """

    rank: int
    code: int
    kind: str
    reason: str = ""
    log: str = ""
    errors: tuple[str, ...] = ()
    signalled: bool = False

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
            signalled=bool(message.get("signalled", False)),
        )


def judge_end(
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
    if code == EXIT_USER_ERROR:
        return RankEnd(rank, code, "input", log=log, errors=tuple(errors))
    text = why_it_failed(tail)
    reason = f"failed: {text}" if text else _without_traceback(code, tail)
    evidence = f"{text} " + " ".join(list(tail)[-20:])
    if _LOST_ANOTHER_RANK.search(evidence) and code != -signal.SIGKILL:
        return RankEnd(rank, EXIT_FAILED, "victim", reason, log)
    return RankEnd(rank, EXIT_FAILED, "killed" if code < 0 else "failed", reason, log)


def _without_traceback(code: int, tail: deque[str]) -> str:
    if code < 0:
        return f"was killed by {_signal_name(-code)}"
    last = next((line.strip() for line in reversed(tail) if line.strip()), "")
    return f"failed with exit code {code}" + (f": {last[:300]}" if last else "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
