"""What a folder holds: the parts, the classes and the files, in every folding seen in the wild."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hvdcore.errors import Problems, UserError

__all__ = ["ImageFile", "list_pictures", "list_scenes", "shown_name"]

PART_NAMES = {
    "train": ("seg_train", "train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("seg_test", "test", "testing"),
}
"""Folder names of the parts; Kaggle's Intel scenes are seg_train, seg_test and seg_pred."""


@dataclass(frozen=True)
class ImageFile:
    """A file in a class folder; `part` is None where the data has no parts of its own."""

    path: Path
    label: int
    part: str | None


def list_scenes(root: Path) -> tuple[list[str], list[ImageFile]]:
    """Class names in order, and all files below the class folders.

    Args:
        root: a folder of class folders, or of part folders with class folders in them. A folder
            that holds only one of its own name, as Kaggle unpacks it, counts as that one.

    Raises:
        UserError: there is nothing of the kind, a folder cannot be read, or test has a class that
            train has not.
    """
    root = _unfold(root)
    parts = _part_folders(root)
    if "train" not in parts and parts:
        raise UserError(
            f"data: {root}: it holds {', '.join(f.name for f in parts.values())} but no train "
            "folder; give the folder above seg_train and seg_test"
        )
    folders = parts or {"": root}
    classes = [folder.name for folder in _class_folders(folders.get("train", root))]
    _check_classes(root, classes, folders)
    files = [
        ImageFile(path, classes.index(folder.name), part or None)
        for part, top in folders.items()
        for folder in _class_folders(top)
        for path in list_pictures(folder)
    ]
    return classes, files


def list_pictures(folder: Path) -> list[Path]:
    """All files below a folder, in order of their names; hidden ones are no pictures.

    Raises:
        UserError: a folder cannot be read.
    """
    found: list[Path] = []
    for entry in _entries(folder):
        if entry.is_dir():
            found += list_pictures(entry)
        else:
            found.append(entry)
    return found


def shown_name(path: Path, root: Path) -> str:
    """The name below `root` as text that can be written, whatever bytes it is made of."""
    name = path.relative_to(root) if path.is_relative_to(root) else path
    return os.fsencode(name).decode("utf-8", "replace")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not _is_litter(p.name))
    except PermissionError:
        raise UserError(
            f"data: {folder}: no permission to read this folder; change its mode (chmod u+rx)"
        ) from None


def _is_litter(name: str) -> bool:
    return name.startswith((".", "__MACOSX")) or name in ("Thumbs.db", "desktop.ini")


def _unfold(folder: Path) -> Path:
    entries = _entries(folder)
    if len(entries) == 1 and entries[0].is_dir() and entries[0].name == folder.name:
        return _unfold(entries[0])
    return folder


def _part_folders(root: Path) -> dict[str, Path]:
    here = {entry.name.lower(): entry for entry in _entries(root) if entry.is_dir()}
    found = {}
    for part, names in PART_NAMES.items():
        folder = next((here[name] for name in names if name in here), None)
        if folder is not None:
            found[part] = _unfold(folder)
    return found


def _class_folders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir()]


def _check_classes(root: Path, classes: list[str], folders: dict[str, Path]) -> None:
    problems = Problems()
    if not classes:
        problems.add("data", f"{root}: no class folders in it; put each class in one of its own")
    elif len(classes) == 1:
        problems.add("data", f"{root}: only one class, {classes[0]}; give two or more")
    for part, folder in folders.items():
        unknown = [f.name for f in _class_folders(folder) if f.name not in classes]
        if unknown:
            problems.add(
                "data",
                f"{folder}: {part} has {', '.join(unknown)}, which train has not; "
                "name the folders alike",
            )
    problems.raise_if_any()
