"""Checkpoints on disk: directories that are complete or do not count, whenever a process is killed.

A checkpoint is written under a temporary name, synced, sealed by manifest.json (size and SHA-256
of every file), and renamed; its contents never change afterwards. Framework-free; rank 0 writes,
every rank may read.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.files.atomic import fsync_path, give_usual_mode, writing
from hvdcore.files.json_files import read_json_object, write_json_atomically
from hvdcore.runtime.software import PACKAGES, package_versions
from hvdcore.tracking.logs import get_logger

__all__ = [
    "MANIFEST",
    "Checkpoint",
    "best",
    "broken_reason",
    "clean_up",
    "commit",
    "delete",
    "discard_after",
    "file_sha256",
    "free_name",
    "is_checkpoint_name",
    "latest_valid",
    "load",
    "newest_first",
    "order_of",
    "save",
    "stage",
    "staging_path",
    "write_manifest",
]

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
        _logger.warning("%s: incomplete, left by a killed run; deleting it", path)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [path.name for path in left]


def discard_after(directory: Path, step: int) -> list[str]:
    """Delete checkpoints of later steps, when a run goes back to an earlier one: they belong to
    a future that will not be. Rank 0 only; `save` does it too.

    Returns:
        The names deleted.
    """
    later = [path for path in newest_first(directory) if order_of(path.name)[0] > step]
    for path in later:
        _logger.warning(
            "%s: later than step %d, which the run resumes from; deleting it", path, step
        )
        delete(path)
    return [path.name for path in later]


def newest_first(directory: Path) -> list[Path]:
    """The checkpoints of a folder, whole or damaged; of one step the one saved last first."""
    if not directory.is_dir():
        return []
    found = [p for p in directory.iterdir() if p.is_dir() and _NAME.fullmatch(p.name)]
    return sorted(found, key=lambda path: order_of(path.name), reverse=True)


def is_checkpoint_name(name: str) -> bool:
    """Whether a checkpoint may be called so."""
    return _NAME.fullmatch(name) is not None


def order_of(name: str) -> tuple[int, int]:
    """(step, number among those of this step) of a checkpoint of this name, to sort by."""
    match = _NAME.fullmatch(name)
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


MANIFEST = "manifest.json"


def write_manifest(directory: Path, step: int) -> None:
    """Sync every file and folder below `directory` to disk and seal them with a manifest.

    Raises:
        OSError: when the disk is full or cannot be written.
        UserError: the same, met while writing the manifest itself.
    """
    files = {}
    for path in _files(directory):
        give_usual_mode(path)
        fsync_path(path)
        name = path.relative_to(directory).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    for folder, _, _ in os.walk(directory, topdown=False):
        fsync_path(Path(folder))
    write_json_atomically(directory / MANIFEST, {"schema": 1, "step": step, "files": files})


def broken_reason(directory: Path) -> str | None:
    """Why a sealed directory is not whole, as part of a sentence; None when every file verifies."""
    if not (directory / MANIFEST).is_file():
        return f"it has no {MANIFEST}"
    try:
        listed = read_json_object(directory / MANIFEST)["files"]
        for name, expected in listed.items():
            if reason := _file_reason(directory, name, expected["bytes"], expected["sha256"]):
                return reason
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    except (UserError, KeyError, TypeError, AttributeError, ValueError):
        return f"its {MANIFEST} cannot be read"
    return None if "meta.json" in listed else "it has no meta.json"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _files(directory: Path) -> list[Path]:
    return sorted(p for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST)


def _file_reason(directory: Path, name: str, num_bytes: int, sha256: str) -> str | None:
    path = directory / name
    # A manifest is data: it must not lead out of its directory.
    if not path.resolve().is_relative_to(directory.resolve()):
        return f"its {MANIFEST} names {name!r} outside of it"
    if not path.is_file():
        return f"{name} is missing"
    if path.stat().st_size != num_bytes:
        return f"{name} has {path.stat().st_size} of {num_bytes} bytes"
    if file_sha256(path) != sha256:
        return f"the contents of {name} have changed"
    return None


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
        _logger.warning("skipping %s: half-written or damaged (%s)", path, reason)
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
