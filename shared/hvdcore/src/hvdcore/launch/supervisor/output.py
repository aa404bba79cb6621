"""The output of a rank: all of it goes to the log, and the relevant lines to the user."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path

from hvdcore.files.atomic import make_folder, temporary_folder, writing
from hvdcore.tracking.logs import LOG_ONLY

__all__ = ["RankLog", "RankOutput", "why_it_failed"]

_LOG_ONLY = LOG_ONLY.encode()
# Horovod's own C++ log. After a failure it speaks of the consequence, not of the cause.
_HOROVOD_SAYS = re.compile(rb"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [A-Z] ")
_MAX_LINE_BYTES = 1 << 20
"""A line that grows longer is cut, so that output without any newline needs bounded memory."""
_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")  # colors and cursor moves of a terminal
_NAMED = re.compile(r"^([A-Za-z_][\w.]*)(?::\s*(.*))?$")


class RankLog:
    """The rank's log file. Until the run directory is known it is a temporary one.

    Raises:
        UserError: it cannot be made.
    """

    def __init__(self, rank: int, folder: Path | None) -> None:
        self.rank = rank
        self.is_temporary = folder is None
        if folder is None:
            with temporary_folder():
                fd, name = tempfile.mkstemp(prefix=f"hvdcore-rank-{rank}-", suffix=".log")
            self.path, self._file = Path(name), os.fdopen(fd, "ab", buffering=0)
        else:
            make_folder(folder, "give another --log-dir")
            with writing(folder, "give another --log-dir"):
                self.path = (folder / f"rank-{rank}.log").resolve()
                self._file = self.path.open("ab", buffering=0)

    def write(self, raw: bytes) -> None:
        """Append. A full disk must not end a run that could still save itself."""
        try:
            self._file.write(raw)
        except OSError:
            return

    def move_to(self, path: Path) -> None:
        """Go on in `path`, taking along what was written so far."""
        if path == self.path:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab", buffering=0)
            with self.path.open("rb") as before:
                shutil.copyfileobj(before, file)
        except OSError:
            return
        self.close(keep=not self.is_temporary)
        self.path, self._file, self.is_temporary = path, file, False

    def close(self, *, keep: bool) -> None:
        """Close; a temporary log is deleted unless somebody will want to read it."""
        self._file.close()
        if self.is_temporary and not keep:
            self.path.unlink(missing_ok=True)


class RankOutput:
    """Splits one stream of a rank into lines and sends each where it belongs.

    Rank 0's lines reach the user as they are. Of the other ranks only those that start with
    `warning: ` do, as `[rank N] warning: ...`; `error: ` lines wait in `errors` for the end, since
    every rank may have found the same error. Lines that start with LOG_ONLY go to the log alone.
    """

    def __init__(self, rank: int, log: RankLog, show: Callable[[bytes], None]) -> None:
        self.rank = rank
        self.log = log
        self.show = show
        self.errors: list[str] = []
        self.tail: deque[str] = deque(maxlen=400)
        self.num_hidden = 0
        """Lines that the user has not seen: they are in the log alone."""
        self._partial = bytearray()
        self._shown = 0

    def feed(self, raw: bytes) -> None:
        """Take in what the rank wrote."""
        searched = len(self._partial)
        self._partial += raw
        while (end := self._partial.find(b"\n", searched)) >= 0:
            self._line(self._take(end))
            del self._partial[:1]
            searched = 0
        while len(self._partial) > _MAX_LINE_BYTES:
            self._line(self._take(_MAX_LINE_BYTES))
        if b"\r" in self._partial:  # redrawn faster than it could ever come to a pause
            self.pause()

    def _take(self, count: int) -> bytes:
        taken = bytes(self._partial[:count])
        del self._partial[:count]  # a bytearray gives its front away without moving the rest
        return taken

    def _line(self, line: bytes) -> None:
        shown, self._shown = self._shown, 0
        text = line.removeprefix(_LOG_ONLY)
        # A progress bar redraws its line after each carriage return; the log keeps the last one.
        kept = _CONTROL.sub(b"", text).rstrip(b"\r").rpartition(b"\r")[2]
        self.log.write(kept + b"\n")
        self.tail.append(kept.decode("utf-8", "replace"))
        if line.startswith(_LOG_ONLY) or _HOROVOD_SAYS.match(line):
            return
        if self.rank == 0:
            self.show(line[shown:] + b"\n")
        elif text.startswith(b"warning: "):
            self.show(b"[rank %d] " % self.rank + text + b"\n")
        elif text.startswith(b"error: "):
            self.errors.append(text.decode("utf-8", "replace"))
        else:
            self.num_hidden += 1

    def pause(self) -> None:
        """Nothing more came for a moment: show rank 0's unfinished line (a progress bar)."""
        if self.rank == 0 and self._partial and not self._partial.startswith(_LOG_ONLY):
            if len(self._partial) > self._shown:
                self.show(bytes(self._partial[self._shown :]))
            # What was overwritten need not be kept: a bar may be redrawn for days.
            del self._partial[: max(self._partial.rfind(b"\r"), 0)]
            self._shown = len(self._partial)

    def finish(self) -> None:
        """The stream has ended."""
        if self._partial:
            self.feed(b"\n")


def why_it_failed(tail: deque[str]) -> str | None:
    """The exception that ended a Python program, from its last lines: `ValueError: text`."""
    lines = list(tail)
    for start in range(len(lines) - 1, -1, -1):
        if lines[start].startswith("Traceback (most recent call last)"):
            break
    else:
        return None
    for line in lines[start + 1 :]:
        match = _NAMED.match(line)
        if match:
            name = match[1].rpartition(".")[2]
            return f"{name}: {match[2]}" if match[2] else name
    return None
