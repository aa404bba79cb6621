"""Owns manifest.json, the seal on a directory: the size and SHA-256 of every file in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hvdcore.errors import UserError
from hvdcore.files.atomic import fsync_path
from hvdcore.files.json_files import read_json_object, write_json_atomically

__all__ = ["MANIFEST", "broken_reason", "file_sha256", "write_manifest"]

MANIFEST = "manifest.json"


def write_manifest(directory: Path, step: int) -> None:
    """Sync every file and folder below `directory` to disk and seal them with a manifest.

    Raises:
        OSError: when the disk is full or cannot be written.
        UserError: the same, met while writing the manifest itself.
    """
    files = {}
    for path in _files(directory):
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
    except (UserError, KeyError, TypeError, AttributeError):
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
