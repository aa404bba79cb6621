"""The supervisor's side of stacks on demand: it asks its rank for them and puts them in the log.

The rank answers SIGUSR1 by itself (`hvdcore.runtime.stacks`). One that does not, since it is
stopped or knows nothing of hvdcore, is read from outside by py-spy, where that is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdcore.launch.supervisor.processes import process_state
from hvdcore.runtime.heartbeat import Beat

__all__ = ["RankStacks", "StacksAnswer", "StacksFile", "catches_signal", "place_of"]

_ANSWER_SECONDS = 3.0
_QUIET_SECONDS = 0.2
_PY_SPY_SECONDS = 6.0
_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$')
_MAX_TEXT = 1 << 20
# Frames of the machinery between a program's line and the collective that it waits in.
_MACHINERY = re.compile(r"/(site-packages|lib/python3\.\d+)/|/(hvdcore|horovod)/|^<")
_COLLECTIVE_CALL = re.compile(r"/(horovod|hvdcore)/(torch|tensorflow|keras|numpy|jax)/")


def catches_signal(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, so that it is not ended by it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


@dataclass(frozen=True)
class StacksAnswer:
    """Where one rank stands.

    Attributes:
        place: in a few words, for a line that names all ranks.
        text: the stacks, or why there are none.
    """

    rank: int
    host: str
    place: str
    text: str

    def as_message(self) -> dict[str, Any]:
        """For the wire."""
        return {"type": "stacks", "host": self.host, "place": self.place, "text": self.text}

    @classmethod
    def from_message(cls, rank: int, message: Mapping[str, Any]) -> StacksAnswer:
        """From the wire."""
        host, place, text = (str(message.get(name, "")) for name in ("host", "place", "text"))
        return cls(rank, host, place, text)

    def lines(self) -> list[str]:
        """For the log and the terminal."""
        head = f"--- rank {self.rank} on {self.host}: {self.place}"
        return [head, *self.text.splitlines(), f"--- end of rank {self.rank}'s stacks"]


class StacksFile:
    """The file that a rank writes its stacks to; in memory, without a name in any folder."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("hvdcore-stacks") if hasattr(os, "memfd_create") else -1

    @property
    def variables(self) -> dict[str, str]:
        """What the rank's environment needs; nothing on a system without such files."""
        from hvdcore.runtime.environment import STACKS

        return {STACKS: f"/proc/{os.getpid()}/fd/{self._fd}"} if self._fd >= 0 else {}

    def num_bytes(self) -> int:
        """Bytes that were written and not taken."""
        return os.fstat(self._fd).st_size if self._fd >= 0 else 0

    def take(self) -> str:
        """What was written since the last call."""
        count = self.num_bytes()
        if not count:
            return ""
        raw = os.pread(self._fd, min(count, _MAX_TEXT), 0)
        os.ftruncate(self._fd, 0)  # the rank appends, so it goes on at the new end
        return raw.decode("utf-8", "replace")

    def close(self) -> None:
        """Give it back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class RankStacks:
    """Asks one rank for its stacks without waiting for it. Times are seconds of a monotonic clock.

    `ask`, and then `poll` until it gives an answer. What a rank writes unasked, because somebody
    sent it SIGUSR1, comes from `poll` as well.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.file = StacksFile()
        self._asked_at: float | None = None
        self._seen: tuple[Beat, str] | None = None
        self._size, self._grew_at = 0, 0.0

    @property
    def is_asked(self) -> bool:
        """An answer is awaited."""
        return self._asked_at is not None

    def ask(self, pid: int, beat: Beat, collective: str, now: float) -> None:
        """Have process `pid` write its stacks. Harmless where it does not know how to.

        Args:
            beat: what the rank does at this moment, for `place_of`; so is `collective`.
        """
        if self._asked_at is not None:
            return
        self._asked_at, self._seen = now, (beat, collective)
        if catches_signal(pid, signal.SIGUSR1) and process_state(pid) not in ("T", "t", "Z"):
            try:
                os.kill(pid, signal.SIGUSR1)
                return
            except ProcessLookupError:
                pass
        self._asked_at = now - _ANSWER_SECONDS  # there will be no answer to wait for

    def poll(self, pid: int, beat: Beat, collective: str, now: float) -> StacksAnswer | None:
        """The answer, once it is whole."""
        size = self.file.num_bytes()
        if size != self._size:
            self._size, self._grew_at = size, now
        if size and now - self._grew_at >= _QUIET_SECONDS:
            text = self.file.take()
            self._size = 0
        elif self._asked_at is not None and now - self._asked_at >= _ANSWER_SECONDS:
            text = self.file.take() or _from_outside(pid)
        else:
            return None
        place = place_of(text, *(self._seen or (beat, collective)))
        self._asked_at = self._seen = None
        return StacksAnswer(self.rank, os.uname().nodename, place, text)

    def wait(self, pid: int, beat: Beat, collective: str) -> StacksAnswer:
        """The answer, waited for."""
        self.ask(pid, beat, collective, time.monotonic())
        while (answer := self.poll(pid, beat, collective, time.monotonic())) is None:
            time.sleep(_QUIET_SECONDS / 4)
        return answer

    def close(self) -> None:
        """Give the file back."""
        self.file.close()


def _from_outside(pid: int) -> str:
    """What py-spy reads of a process that does not answer, or why there is nothing."""
    state = process_state(pid)
    if not state or state == "Z":
        return "no stacks: the process has ended"
    reason = "it is stopped by a signal" if state in ("T", "t") else "it does not answer SIGUSR1"
    program = shutil.which("py-spy") or shutil.which(
        "py-spy", path=str(Path(sys.executable).parent)
    )
    if program is None:
        return f"no stacks: {reason} (py-spy could read them from outside: pip install py-spy)"
    try:
        done = subprocess.run(
            [program, "dump", "--nonblocking", "--pid", str(pid)],
            capture_output=True, text=True, errors="replace", timeout=_PY_SPY_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no stacks: {reason}, and py-spy failed ({error})"
    if done.returncode != 0:
        return f"no stacks: {reason}, and py-spy failed ({done.stderr.strip()[-300:]})"
    return f"{reason}; read by py-spy:\n{done.stdout}"


def main_thread(text: str) -> list[tuple[str, int, str]]:
    """(file, line, function) of the main thread's frames, the innermost first.

    faulthandler writes the newest thread first, so the main thread is the last one.
    """
    frames: list[tuple[str, int, str]] = []
    for line in text.splitlines():
        if found := _FRAME.match(line):
            frames.append((found["file"], int(found["line"]), found["name"]))
        elif "most recent call first" in line:
            frames = []
    return frames


def place_of(text: str, beat: Beat, collective: str) -> str:
    """Where a rank stands: the collective it waits in, or its phase; the step; the line."""
    frames = main_thread(text)
    own = next((frame for frame in frames if not _MACHINERY.search(frame[0])), None)
    calls = []
    for frame in frames:
        if own is not None and frame == own:
            break
        if _COLLECTIVE_CALL.search(frame[0]):
            calls.append(frame[2])
    if beat.phase == "communicate":
        what = f"waits in {collective or (calls[-1] if calls else 'a collective')}"
    elif calls:
        what = f"in {calls[-1]}"
    else:
        what = f"in phase '{beat.phase}'" if beat.number else "running"
    step = f" of step {beat.step}" if beat.step >= 0 else ""
    where = f" at {Path(own[0]).name}:{own[1]} ({own[2]})" if own is not None else ""
    return what + step + where
