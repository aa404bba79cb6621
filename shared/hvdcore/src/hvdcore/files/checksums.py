"""Size and SHA-256 of each file of a folder: recorded when it is written, compared when opened."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError

__all__ = ["CHECKSUMS", "checksums", "damaged_file", "require_sizes", "require_undamaged"]

CHECKSUMS = "checksums"
"""The field of a manifest."""
_BLOCK_BYTES = 1 << 22


def checksums(
    folder: Path, without: str, on_block: Callable[[], None] = lambda: None
) -> dict[str, dict[str, Any]]:
    """`bytes` and `sha256` of every file below a folder, by its path in it.

    Args:
        without: the name of the manifest itself.
        on_block: called after every 4 MB.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != without)
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": _sha256(path, on_block),
        }
        for path in files
    }


def damaged_file(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """A file that is missing or whose size differs from the manifest's, and how; None when all fit.

    Manifests without checksums, of earlier versions, fit.
    """
    for name, entry in _entries(manifest).items():
        # A manifest is data: it must not lead out of its folder, or to a device.
        if Path(name).is_absolute() or ".." in Path(name).parts:
            return f"{name!r} is no file of this folder"
        try:
            status = os.stat(folder / name)
        except OSError as error:
            return f"{name[:100]}: {error.strerror}"
        except ValueError as error:  # NUL, or what no file system can encode
            return f"{name[:100]!r}: {error}"
        if not stat.S_ISREG(status.st_mode):
            return f"{name} is no file"
        size = status.st_size
        if size != entry["bytes"]:
            return f"{name} has {size} bytes, not {entry['bytes']}"
    return None


def require_sizes(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Check that the files are there and as long as they were written. Costs no reading.

    Raises:
        UserError: one is not; one line that names it.
    """
    problem = damaged_file(folder, manifest)
    if problem is not None:
        raise UserError(_line(folder, problem))


def require_undamaged(
    folder: Path, manifest: Mapping[str, Any], on_block: Callable[[], None] = lambda: None
) -> None:
    """Check that each file holds the bytes that were written, by reading all of them once.

    Args:
        on_block: called after every 4 MB.

    Raises:
        UserError: one does not; one line that names it.
    """
    require_sizes(folder, manifest)
    for name, entry in _entries(manifest).items():
        try:
            digest = _sha256(folder / name, on_block)
        except OSError as error:
            raise UserError(_line(folder, f"{name}: {error.strerror}")) from error
        if digest != entry["sha256"]:
            raise UserError(_line(folder, f"{name} does not have the SHA-256 it was written with"))


def _entries(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a manifest of ours holds, or nothing: it may have been edited."""
    found = manifest.get(CHECKSUMS)
    if not isinstance(found, dict):
        return {}
    return {
        name: entry
        for name, entry in found.items()
        if isinstance(entry, dict) and {"bytes", "sha256"} <= entry.keys()
    }


def _line(folder: Path, problem: str) -> str:
    what = f"data: the prepared data in {folder} is damaged: {problem}"
    return f"{what}; delete that folder and start again"


def _sha256(path: Path, on_block: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            on_block()
    return digest.hexdigest()
