"""Owns checkpoints on disk: directories that are whole or do not count, whatever the moment of a
kill. Framework-free; rank 0 writes, every rank may read.

A checkpoint is written under a temporary name, synced, sealed by manifest.json (size and SHA-256
of every file), and renamed; a name never changes its contents afterwards.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdcore.atomic import fsync_path, writing
from hvdcore.checkpoint.seal import broken_reason, write_manifest
from hvdcore.errors import UserError
from hvdcore.json_files import read_json_object, write_json_atomically

__all__ = ["Checkpoint", "best", "clean_up", "commit", "discard_after", "latest_valid", "load"]
__all__ += ["save", "stage", "staging_path"]

_logger = logging.getLogger(__name__)
_NAME = re.compile(r"step-(\d+)(?:-(\d+))?")
_STAGING = ".writing-"
_TRASH = ".deleting-"


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint, its files verified when it was found.

    Attributes:
        path: its directory.
        step: optimizer updates made before it was written.
        meta: contents of meta.json: step and whatever the writer gave.
    """

    path: Path
    step: int
    meta: Mapping[str, Any]

    def file(self, name: str) -> Path:
        """Path of one of its files.

        Raises:
            UserError: when the checkpoint has no such file.
        """
        path = self.path / name
        if not path.is_file():
            raise UserError(
                f"{self.path}: this checkpoint holds no {name}; was it another model's?"
            )
        return path


def save(
    directory: Path,
    step: int,
    write: Callable[[Path], None],
    keep: int = 2,
    *,
    meta: Mapping[str, Any] | None = None,
    is_best: bool = False,
) -> Checkpoint:
    """Write a checkpoint that appears whole or not at all. Rank 0 only.

    Args:
        directory: the run's `checkpoints/`; made when missing.
        step: optimizer updates made so far.
        write: called with an empty directory to put its files in (safetensors, JSON).
        keep: how many of the newest to keep, 1 or more, beside the best.
        meta: JSON values for meta.json: position, shapes, versions.
        is_best: point `best` at this one; the one it pointed at before may then be deleted.

    Raises:
        UserError: when the disk is full or cannot be written; earlier checkpoints stay valid.
    """
    staged = stage(directory, step)
    try:
        with writing(directory):
            write(staged)
        return commit(directory, step, keep, meta=meta, is_best=is_best)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def staging_path(directory: Path, step: int) -> Path:
    """Where the files of a checkpoint being written go; every rank can work it out."""
    return directory / f"{_STAGING}step-{step:08d}"


def stage(directory: Path, step: int) -> Path:
    """Make the empty directory for a checkpoint's files, first half of `save`. Rank 0 only.

    For state that lives on each rank: rank 0 stages, all ranks meet (barrier), each writes a
    file of its own in `staging_path`, all meet again, rank 0 commits.
    """
    path = staging_path(directory, step)
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        clean_up(directory)
        path.mkdir()
    return path


def commit(
    directory: Path,
    step: int,
    keep: int = 2,
    *,
    meta: Mapping[str, Any] | None = None,
    is_best: bool = False,
) -> Checkpoint:
    """Seal what was staged and let it appear, then delete old ones. Rank 0 only; see `save`."""
    staged = staging_path(directory, step)
    contents = {**(meta or {}), "step": step}
    with writing(directory):
        write_json_atomically(staged / "meta.json", contents)
        write_manifest(staged, step)
        path = _free_name(directory, step)
        staged.rename(path)
        fsync_path(directory)
    if is_best:
        write_json_atomically(directory / "best.json", {"name": path.name, "step": step})
    _prune(directory, keep)
    return _opened(path)


def load(path: Path) -> Checkpoint:
    """Verify one checkpoint directory, every file against its SHA-256.

    Raises:
        UserError: when there is none, or it is half-written or damaged.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such checkpoint; check the path")
    reason = broken_reason(path)
    if reason is not None:
        raise UserError(f"{path}: a half-written or damaged checkpoint ({reason}); give another")
    return _opened(path)


def latest_valid(directory: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies; half-written ones are passed over with a warning."""
    for path in _newest_first(directory):
        reason = broken_reason(path)
        if reason is None:
            return _opened(path)
        _logger.warning("passing over %s: half-written or damaged (%s)", path, reason)
    return None


def best(directory: Path) -> Checkpoint | None:
    """The checkpoint last saved with `is_best`, or None.

    Raises:
        UserError: when it is half-written or damaged.
    """
    pointer = directory / "best.json"
    if not pointer.is_file():
        return None
    return load(directory / Path(str(read_json_object(pointer)["name"])).name)


def clean_up(directory: Path) -> list[str]:
    """Delete what a killed run left half-done, and log it. Rank 0 only; `stage` does it too,
    since a run has one writer and whatever is half-done then is from before.

    Returns:
        The names deleted.
    """
    if not directory.is_dir():
        return []
    left = sorted(p for p in directory.iterdir() if p.name.startswith((_STAGING, _TRASH, ".best")))
    for path in left:
        _logger.warning("%s: left half-done by a killed run; deleting it", path)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [path.name for path in left]


def discard_after(directory: Path, step: int) -> list[str]:
    """Delete checkpoints of later steps, when a run goes back to an earlier one: they belong to
    a future that will not be. Rank 0 only.

    Returns:
        The names deleted.
    """
    later = [path for path in _newest_first(directory) if _order(path)[0] > step]
    for path in later:
        _logger.info("%s: later than the step resumed from; deleting it", path)
        _delete(path)
    return [path.name for path in later]


def _opened(path: Path) -> Checkpoint:
    meta = read_json_object(path / "meta.json")
    return Checkpoint(path, int(meta["step"]), meta)


def _newest_first(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    found = [p for p in directory.iterdir() if p.is_dir() and _NAME.fullmatch(p.name)]
    return sorted(found, key=_order, reverse=True)


def _order(path: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2] or 1)


def _free_name(directory: Path, step: int) -> Path:
    # Two renames would be needed to replace a directory, with none in place between them.
    name, number = f"step-{step:08d}", 1
    while (directory / name).exists():
        number += 1
        name = f"step-{step:08d}-{number}"
    return directory / name


def _prune(directory: Path, keep: int) -> None:
    pointer = directory / "best.json"
    best_name = read_json_object(pointer).get("name") if pointer.is_file() else None
    for path in _newest_first(directory)[max(keep, 1) :]:
        if path.name != best_name:
            _delete(path)


def _delete(path: Path) -> None:
    # Under another name first: half-deleted, it must not look like a damaged checkpoint.
    trash = path.with_name(_TRASH + path.name)
    shutil.rmtree(trash, ignore_errors=True)
    os.rename(path, trash)
    shutil.rmtree(trash)
