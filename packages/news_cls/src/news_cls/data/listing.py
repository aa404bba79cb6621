"""What a path holds: the files of each part, in every folding seen in the wild."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from hvdcore.errors import UserError

__all__ = ["DataFile", "list_tables", "shown_name"]

PART_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Words in the name of a file or of its folder that say the part."""
_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".pq")
_ONLY_BY_PART = (".txt", ".data", "")
"""Suffixes that may be anything; such files are read when their name says a part."""
_NO_DATA = re.compile(
    r"(readme|licen[cs]e|classes|labels|dataset_infos?|metadata|config)\b.*", re.I
)


@dataclass(frozen=True)
class DataFile:
    """A file with rows; `part` is None where the data has no parts of its own."""

    path: Path
    part: str | None


def list_tables(root: Path) -> tuple[list[DataFile], list[Path]]:
    """The files to read, in order of their names, and those that look like data and are not read.

    Args:
        root: a file, or a folder with files, whose names or folders say train, val or test. Where
            no name says a part, all files are one heap, which is cut.

    Raises:
        UserError: there are none, a folder cannot be read, or there is a test part but no train.
    """
    if root.is_file():
        return [DataFile(root, None)], []
    found = [(path, _part(path, root)) for path in _files(root)]
    found = [(p, part) for p, part in found if _suffix(p) in _SUFFIXES or part]
    if not found:
        raise UserError(
            f"data: {root}: no data files in it; give a file, or a folder with train.csv (or "
            f"{', '.join(_SUFFIXES[1:])}, .gz of these)"
        )
    parts = {part for _, part in found if part}
    if not parts:
        return [DataFile(path, None) for path, _ in found], []
    if "train" not in parts:
        raise UserError(
            f"data: {root}: it holds {' and '.join(sorted(parts))} but no train; name a file "
            "train.csv, or give one file to be cut"
        )
    files = [DataFile(path, part) for path, part in found if part]
    return files, [path for path, part in found if not part]


def shown_name(path: Path, root: Path) -> str:
    """The name below `root` as text that can be written, whatever bytes it is made of."""
    name = path.relative_to(root) if path != root and path.is_relative_to(root) else path
    return os.fsencode(name).decode("utf-8", "replace")


def _files(folder: Path) -> list[Path]:
    try:
        entries = sorted(p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX")))
    except PermissionError:
        raise UserError(
            f"data: {folder}: no permission to read this folder; change its mode (chmod u+rx)"
        ) from None
    found: list[Path] = []
    for entry in entries:
        if entry.is_dir():
            found += _files(entry)
        elif _suffix(entry) in (*_SUFFIXES, *_ONLY_BY_PART) and not _NO_DATA.fullmatch(entry.name):
            found.append(entry)
    return found


def _suffix(path: Path) -> str:
    name = Path(path.stem) if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


def _part(path: Path, root: Path) -> str | None:
    """By the file's own name before those of its folders, the inner ones first."""
    for name in (path.name, *reversed(path.relative_to(root).parts[:-1])):
        words = re.split(r"[^a-z]+", name.lower())
        for part, names in PART_NAMES.items():
            if any(word in names for word in words):
                return part
    return None
