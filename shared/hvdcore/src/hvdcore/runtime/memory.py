"""How much memory a process can still take: of the machine, and of the cgroups it is in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["free_memory_bytes", "resident_bytes"]

_ROOT = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
_NAMES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files of cgroup v2 and v1, and the field of memory.stat for cached pages that are given back."""


def free_memory_bytes(proc: Path = _PROC, root: Path = _ROOT) -> int:
    """Bytes that can still be allocated here before the kernel ends a process.

    The least of the machine's MemAvailable and what each cgroup above this process has left below
    its limit, cached file pages that are dropped first not counted as used.
    """
    free = [_available(proc)]
    for folder in _memory_cgroups(proc, root):
        free += _left_in(folder)
    return max(0, min(free))


def resident_bytes(proc: Path = _PROC) -> int:
    """Resident memory of this process now."""
    pages = int((proc / "self" / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _available(proc: Path) -> int:
    with suppress(OSError):
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024  # "MemAvailable:   21715 kB"
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _memory_cgroups(proc: Path, root: Path) -> Iterator[Path]:
    """The folders of this process's memory cgroup and of all above it.

    Inside a container its own cgroup is often mounted as the root, and the path does not exist.
    """
    with suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            top = root / "memory" if controllers else root
            folder = top / path.lstrip("/")
            yield top
            while folder != top and top in folder.parents:
                yield folder
                folder = folder.parent


def _left_in(folder: Path) -> list[int]:
    """What is left below the limit of one cgroup; nothing where it has none."""
    for limit, usage, cached in _NAMES:
        with suppress(OSError, ValueError):  # no such file, or "max"
            left = int((folder / limit).read_text()) - int((folder / usage).read_text())
            return [left + _stat(folder / "memory.stat", cached)]
    return []


def _stat(path: Path, field: str) -> int:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == field:
            return int(value)
    return 0
