"""What a path contains: the files of each split, in the usual directory layouts."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hvdcore.errors import UserError
from hvdcore.files.walk import walk_files, warn_of_left_out

__all__ = ["DataFile", "display_name", "list_tables"]

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Words in the name of a file or of its folder that name the split."""
_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".pq")
_ONLY_WITH_SPLIT = (".txt", ".data", "")
"""Suffixes that may be anything; such files are read if their name contains a split."""
_FEW_FILES = 20
"""As many as parts of a table may have."""
_NO_DATA = re.compile(
    r"(readme|licen[cs]e|classes|labels|dataset_infos?|metadata|config)\b.*", re.I
)


@dataclass(frozen=True)
class DataFile:
    """A file with rows; `split` is None if the data has no splits."""

    path: Path
    split: str | None


def list_tables(root: Path) -> tuple[list[DataFile], list[Path]]:
    """The files to read, sorted by name, and those that look like data but are not read.

    Args:
        root: a file, or a folder with files whose names or folders contain train, val or test. If
            none does, all files are read as one, which is to be split.

    Raises:
        UserError: there are none, a folder cannot be read, or there is test but no train.
    """
    if root.is_file():
        return [DataFile(root, None)], []
    files = _files(root)
    _check_no_saved_data_set(root, files)
    found = [(path, _split(path, root)) for path in files]
    found = [(p, split) for p, split in found if _suffix(p) in _SUFFIXES or split]
    _check_no_texts_in_folders(root, files)
    if not found:
        raise UserError(
            f"data: {root}: no data files in it; give a file, or a folder with train.csv (or "
            f"{', '.join(_SUFFIXES[1:])}, .gz of these)"
        )
    splits = {split for _, split in found if split}
    if not splits:
        return [DataFile(path, None) for path, _ in found], []
    if "train" not in splits:
        raise UserError(
            f"data: {root}: it has {' and '.join(sorted(splits))} but no train; name a file "
            "train.csv, or give a single file"
        )
    files = [DataFile(path, split) for path, split in found if split]
    return files, [path for path, split in found if not split]


def _check_no_saved_data_set(root: Path, files: Sequence[Path]) -> None:
    """
    Raises:
        UserError: it is what save_to_disk of the library datasets writes: Arrow, and JSON that is
            no data.
    """
    for path in files:
        if path.name == "state.json" and next(path.parent.glob("*.arrow"), None):
            raise UserError(
                f"data: {display_name(path.parent, root)}: a data set that datasets saved as Arrow "
                "(save_to_disk); load it there (load_from_disk) and write each split by to_parquet"
            )


def _check_no_texts_in_folders(root: Path, files: Sequence[Path]) -> None:
    """
    Raises:
        UserError: each text is a file, in the folder of its class, and there is no table.
    """
    texts = [path for path in files if path.suffix.lower() not in _SUFFIXES]
    folders = {path.parent for path in texts} - {root}
    if len(texts) == len(files) and len(folders) > 1 and len(texts) > _FEW_FILES:
        raise UserError(
            f"data: {root}: {len(texts):,} files without a table's suffix, such as "
            f"{display_name(texts[0], root)}; if each is a text in the folder of its class, write "
            "them into one table, with a label and a text in each row (train.csv)"
        )


def display_name(path: Path, root: Path) -> str:
    """The path relative to `root` as valid text, whatever bytes it consists of."""
    name = path.relative_to(root) if path != root and path.is_relative_to(root) else path
    return os.fsencode(name).decode("utf-8", "replace")


def _files(folder: Path) -> list[Path]:
    walk = walk_files(folder)
    warn_of_left_out(folder, [walk])
    suffixes = (*_SUFFIXES, *_ONLY_WITH_SPLIT)
    return [
        path
        for path in walk.files
        if _suffix(path) in suffixes and not _NO_DATA.fullmatch(path.name)
    ]


def _suffix(path: Path) -> str:
    name = Path(path.stem) if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


def _split(path: Path, root: Path) -> str | None:
    """The split in the file's name, else in those of its folders, the inner ones first."""
    for name in (path.name, *reversed(path.relative_to(root).parts[:-1])):
        words = re.split(r"[^a-z]+", name.lower())
        for split, names in SPLIT_NAMES.items():
            if any(word in names for word in words):
                return split
    return None
