"""Owns checkpoints on disk: directories that are whole or do not count, whatever the moment of a
kill. Framework-free; rank 0 writes, every rank may read.

A checkpoint is written under a temporary name, synced, sealed by manifest.json (size and SHA-256
of every file), and renamed; a name never changes its contents afterwards.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.files.atomic import fsync_path, writing
from hvdcore.files.json_files import read_json_object, write_json_atomically
from hvdcore.run.checkpoint.folder import (
    clean_up,
    delete,
    discard_after,
    free_name,
    newest_first,
    staging_path,
)
from hvdcore.run.checkpoint.seal import broken_reason, write_manifest
from hvdcore.runtime.software import PACKAGES, package_versions
from hvdcore.tracking.logs import get_logger

__all__ = ["Checkpoint", "best", "commit", "latest_valid", "load", "save", "stage"]

_logger = get_logger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint, its files verified when it was found.

    Attributes:
        path: its directory.
        step: optimizer updates made before it was written.
        meta: contents of meta.json: step, is_best, versions of packages, and what the writer gave.
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
        meta: JSON values for meta.json: position, shapes; the versions of packages are added.
        is_best: make this the one that `best` finds; the one before it may then be deleted.

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
    """Seal what was staged and let it appear, then delete old ones, and any of a later step (a
    damaged one that was passed over, or a future that was gone back from). Rank 0 only.

    The arguments and errors are those of `save`.
    """
    staged = staging_path(directory, step)
    # In the checkpoint itself, not in a pointer beside it: a kill between two writes could leave
    # the pointer behind the checkpoints.
    contents = {
        "versions": package_versions(PACKAGES),
        **(meta or {}),
        "step": step,
        "is_best": is_best,
    }
    with writing(directory):
        write_json_atomically(staged / "meta.json", contents)
        write_manifest(staged, step)
        path = free_name(directory, step)
        staged.rename(path)
        fsync_path(directory)
    discard_after(directory, step)
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
    for path in newest_first(directory):
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
    path = _best_path(directory)
    return None if path is None else load(path)


def _opened(path: Path) -> Checkpoint:
    meta = read_json_object(path / "meta.json")
    return Checkpoint(path, int(meta["step"]), meta)


def _prune(directory: Path, keep: int) -> None:
    best_path = _best_path(directory)
    for path in newest_first(directory)[max(keep, 1) :]:
        if path != best_path:
            delete(path)


def _best_path(directory: Path) -> Path | None:
    for path in newest_first(directory):
        with suppress(UserError):
            if read_json_object(path / "meta.json").get("is_best"):
                return path
    return None
