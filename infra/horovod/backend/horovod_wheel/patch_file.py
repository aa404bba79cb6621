"""Reads a patch file: a reason and a unified diff."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .errors import BuildError

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")


@dataclass
class Hunk:
    """Lines to find and lines to put in their place; `start` counts from 0 in the old file."""

    start: int
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)


@dataclass
class Edit:
    """One patch: its file name, the reason for it, and hunks by path."""

    name: str
    reason: str
    files: dict[str, list[Hunk]]


def read_edits(folder: Path) -> list[Edit]:
    """All patches of a folder in the order of their names."""
    return [read_edit(path) for path in sorted(folder.glob("*.patch"))]


def read_edit(path: Path) -> Edit:
    """Parses one patch; `BuildError` when it gives no reason or is not a whole unified diff."""
    lines = path.read_bytes().decode().removesuffix("\n").split("\n")
    first = next((i for i, line in enumerate(lines) if line.startswith("--- ")), len(lines))
    reason = re.search(r"Reason: *(\S.*)", " ".join(line.strip() for line in lines[:first]))
    if reason is None:
        raise BuildError(f"{path.name}: no 'Reason: ...' line before its first file")
    try:
        files = _read_files(iter(lines[first:]))
    except (ValueError, StopIteration, RuntimeError) as error:
        raise BuildError(f"{path.name} is not a whole unified diff: {error}") from error
    if not files:
        raise BuildError(f"{path.name}: no hunk found, so it would change nothing")
    return Edit(path.name, reason[1].strip(), files)


def _read_files(lines: Iterator[str]) -> dict[str, list[Hunk]]:
    files: dict[str, list[Hunk]] = {}
    path = ""
    for line in lines:
        if line.startswith("+++ "):
            # "+++ b/horovod/x.cc<tab>date" names horovod/x.cc
            path = line[4:].split("\t")[0].partition("/")[2]
        elif match := _HUNK.match(line):
            old, new = (int(count) if count else 1 for count in match.group(2, 3))
            hunk = _read_hunk(lines, max(int(match[1]) - 1, 0), old, new)
            files.setdefault(path, []).append(hunk)
    return files


def _read_hunk(lines: Iterator[str], start: int, num_old: int, num_new: int) -> Hunk:
    """Takes as many lines as the hunk's header says, so that `--- x` can be a removed line."""
    hunk = Hunk(start)
    while len(hunk.old) < num_old or len(hunk.new) < num_new:
        line = next(lines, None)
        if line is None or line[:1] not in ("", " ", "+", "-", "\\"):
            raise ValueError(f"a hunk ends early at {line!r}")
        if line[:1] in ("", " ", "-"):
            hunk.old.append(line[1:])
        if line[:1] in ("", " ", "+"):
            hunk.new.append(line[1:])
    return hunk
