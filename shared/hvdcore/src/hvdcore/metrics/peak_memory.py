"""Owns the most memory that this process has held at a time."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

__all__ = ["peak_resident_bytes"]


def peak_resident_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The high-water mark of this process's resident memory, in bytes.

    Linux's `ru_maxrss` outlives exec, so that a small process started by a large one would be as
    large; `VmHWM` does not.
    """
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * 1024  # "   2080 kB"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
