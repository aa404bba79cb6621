"""Owns the names in a folder of checkpoints: which is the newest, what is left over, what goes."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from hvdcore.tracking.logs import get_logger

__all__ = ["clean_up", "delete", "discard_after", "free_name", "newest_first", "staging_path"]

_logger = get_logger(__name__)
_NAME = re.compile(r"step-(\d+)(?:-(\d+))?")
_STAGING = ".writing-"
_TRASH = ".deleting-"


def staging_path(directory: Path, step: int) -> Path:
    """Where the files of a checkpoint being written go; every rank can work it out."""
    return directory / f"{_STAGING}step-{step:08d}"


def clean_up(directory: Path) -> list[str]:
    """Delete what a killed run left half-done, and log it. Rank 0 only; `stage` does it too,
    since a run has one writer and whatever is half-done then is from before.

    Returns:
        The names deleted.
    """
    if not directory.is_dir():
        return []
    left = sorted(p for p in directory.iterdir() if p.name.startswith((_STAGING, _TRASH)))
    for path in left:
        _logger.warning("%s: left half-done by a killed run; deleting it", path)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [path.name for path in left]


def discard_after(directory: Path, step: int) -> list[str]:
    """Delete checkpoints of later steps, when a run goes back to an earlier one: they belong to
    a future that will not be. Rank 0 only; `save` does it too.

    Returns:
        The names deleted.
    """
    later = [path for path in newest_first(directory) if _order(path)[0] > step]
    for path in later:
        _logger.warning(
            "%s: later than step %d, to which the run went back; deleting it", path, step
        )
        delete(path)
    return [path.name for path in later]


def newest_first(directory: Path) -> list[Path]:
    """The checkpoints of a folder, whole or damaged; of one step the one saved last first."""
    if not directory.is_dir():
        return []
    found = [p for p in directory.iterdir() if p.is_dir() and _NAME.fullmatch(p.name)]
    return sorted(found, key=_order, reverse=True)


def _order(path: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2] or 1)


def free_name(directory: Path, step: int) -> Path:
    """A path for a new checkpoint that is not taken."""
    # Two renames would be needed to replace a directory, with none in place between them.
    name, number = f"step-{step:08d}", 1
    while (directory / name).exists():
        number += 1
        name = f"step-{step:08d}-{number}"
    return directory / name


def delete(path: Path) -> None:
    """Delete a checkpoint, so that a kill half-way is not mistaken for damage."""
    # Under another name first: half-deleted, it must not look like a checkpoint.
    trash = path.with_name(_TRASH + path.name)
    shutil.rmtree(trash, ignore_errors=True)
    os.rename(path, trash)
    shutil.rmtree(trash)
