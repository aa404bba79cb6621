"""Owns finding and ending processes that outlived their job, by a marker in their environment."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

__all__ = ["JOB", "end_leftovers", "find_leftovers"]

JOB = "HVDCORE_JOB"
"""Variable that marks every process of a job that our launcher started."""


def find_leftovers(variable: str, value: str) -> list[int]:
    """Process ids on this host, but our own, that were started with `variable=value`.

    The environment survives new sessions, process groups and the death of parents, where no other
    mark does. Only processes of the same user can be read, and only where /proc exists.
    """
    wanted = f"{variable}={value}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes()
            if wanted in environment.split(b"\0") and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def end_leftovers(variable: str, value: str) -> int:
    """SIGKILL every process that `find_leftovers` finds, until it finds none. Returns how many."""
    ended: set[int] = set()
    for _ in range(5):  # a process may have forked while we looked
        found = set(find_leftovers(variable, value)) - ended
        if not found:
            break
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended |= found
    return len(ended)
