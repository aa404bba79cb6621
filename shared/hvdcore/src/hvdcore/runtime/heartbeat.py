"""The heartbeat of a rank: one page of memory that it writes and its supervisor reads."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from pathlib import Path
from typing import NamedTuple

from hvdcore.runtime.environment import HEARTBEAT
from hvdcore.runtime.stacks import write_stacks_for_supervisor

__all__ = ["PHASES", "Beat", "HeartbeatPage", "beat", "tell_log_path"]

PHASES = ("none", "start", "data", "compute", "communicate", "evaluate", "checkpoint", "prepare")
"""What a rank can be doing. Only 'communicate' is waiting for others."""

_CODES = {name: code for code, name in enumerate(PHASES)}
_BEAT = struct.Struct("=QqQQ")  # count, step (-1: none), phase code, process id
_PAGE_BYTES = 8192
_TEXT_OFFSET = 64  # the log path, as a 2-byte length and its bytes
_COLLECTIVE_OFFSET = 7168  # the collective that is waited for, likewise
_MAX_COLLECTIVE_BYTES = 512


class Beat(NamedTuple):
    """A rank's last heartbeat. `number` 0 means that there was none."""

    number: int
    step: int
    phase: str
    pid: int


class _Writer:
    """The rank's side of the page; a no-op when nobody supervises."""

    def __init__(self) -> None:
        self.page: mmap.mmap | None = None
        self.count = 0
        self.step = -1
        self.pid = os.getpid()
        self.collective = ""
        path = os.environ.get(HEARTBEAT)
        if path:
            try:
                with open(path, "r+b", buffering=0) as file:
                    self.page = mmap.mmap(file.fileno(), _PAGE_BYTES)
            except (OSError, ValueError):
                self.page = None  # the supervisor is gone, and we soon will be
            write_stacks_for_supervisor()

    def write_text(self, offset: int, raw: bytes) -> None:
        """The length goes last, so that a reader never sees half a text."""
        assert self.page is not None
        self.page[offset + 2 : offset + 2 + len(raw)] = raw
        struct.pack_into("=H", self.page, offset, len(raw))


_writer: _Writer | None = None


def beat(phase: str, step: int | None = None, collective: str = "") -> None:
    """Say that this rank is alive and enters `phase` (one of PHASES). Costs under 2 us.

    Every rank calls it, at least once in each stall time-out. Around a collective call
    `beat('communicate')` before and another phase after: a rank that sits in 'communicate' waits
    for the others, and is never the one to blame. `step` stays as it was when not given.
    `collective` is the name of the call, for whoever asks where the ranks stand.
    """
    global _writer
    writer = _writer
    if writer is None:
        writer = _writer = _Writer()
    if writer.page is None:
        return
    writer.count += 1
    if step is not None:
        writer.step = step
    if collective != writer.collective and phase == "communicate":
        writer.collective = collective
        raw = collective.encode("utf-8", "replace")[:_MAX_COLLECTIVE_BYTES]
        writer.write_text(_COLLECTIVE_OFFSET, raw)
    _BEAT.pack_into(writer.page, 0, writer.count, writer.step, _CODES[phase], writer.pid)


def tell_log_path(path: Path) -> None:
    """Tell the supervisor, if any, where this rank's output belongs."""
    global _writer
    if _writer is None:
        _writer = _Writer()
    if _writer.page is not None:
        raw = os.fsencode(path.resolve())[: _COLLECTIVE_OFFSET - _TEXT_OFFSET - 2]
        _writer.write_text(_TEXT_OFFSET, raw)


class HeartbeatPage:
    """The supervisor's side. `path` goes to the rank in HVDCORE_HEARTBEAT.

    On Linux the page has no name in the file system: the rank opens it through /proc, so that it
    cannot be left behind, and any process below the rank can find it.
    """

    def __init__(self) -> None:
        self._unlink: Path | None = None
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("hvdcore-heartbeat")
            self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        else:
            self._fd, self.path = tempfile.mkstemp(prefix="hvdcore-heartbeat-")
            self._unlink = Path(self.path)
        os.ftruncate(self._fd, _PAGE_BYTES)
        self._page = mmap.mmap(self._fd, _PAGE_BYTES)

    def read(self) -> Beat:
        """The last beat."""
        number, step, code, pid = _BEAT.unpack_from(self._page, 0)
        return Beat(number, step, PHASES[code] if code < len(PHASES) else "none", pid)

    def log_path(self) -> Path | None:
        """Where the rank wants its log, or None while it has not said so."""
        raw = self._text(_TEXT_OFFSET)
        return Path(os.fsdecode(raw)) if raw else None

    def collective(self) -> str:
        """The name of the collective that the rank waited for last; empty when it gave none."""
        return self._text(_COLLECTIVE_OFFSET).decode("utf-8", "replace")

    def _text(self, offset: int) -> bytes:
        (length,) = struct.unpack_from("=H", self._page, offset)
        return self._page[offset + 2 : offset + 2 + length]

    def close(self) -> None:
        """Give the page back."""
        self._page.close()
        os.close(self._fd)
        if self._unlink:
            self._unlink.unlink(missing_ok=True)
