"""What a folder contains: splits, classes and image files, in the usual directory layouts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hvdcore.errors import Problems, UserError

__all__ = ["ImageFile", "display_name", "list_classes", "list_images"]

SPLIT_NAMES = {
    "train": ("seg_train", "train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("seg_test", "test", "testing"),
}
"""Folder names of each split; Kaggle's Intel scenes have seg_train, seg_test and seg_pred."""


@dataclass(frozen=True)
class ImageFile:
    """A file in a class folder; `split` is None if the data has no splits."""

    path: Path
    label: int
    split: str | None


def list_classes(root: Path) -> tuple[list[str], list[ImageFile]]:
    """The class names in order, and all files below the class folders.

    Args:
        root: a folder of class folders, or of split folders that contain class folders. A folder
            that contains only a folder of its own name, as Kaggle's archives do, is skipped.

    Raises:
        UserError: there are no such folders, one cannot be read, or test has a class that train
            does not have.
    """
    root = _unfold(root)
    splits = _split_folders(root)
    if "train" not in splits and splits:
        raise UserError(
            f"data: {root}: it has {', '.join(f.name for f in splits.values())} but no train "
            "folder; give the folder above seg_train and seg_test"
        )
    folders = splits or {"": root}
    classes = [folder.name for folder in _class_folders(folders.get("train", root))]
    _check_classes(root, classes, folders)
    files = [
        ImageFile(path, classes.index(folder.name), split or None)
        for split, top in folders.items()
        for folder in _class_folders(top)
        for path in list_images(folder)
    ]
    return classes, files


def list_images(folder: Path) -> list[Path]:
    """All files below a folder, sorted by name, without hidden ones.

    Raises:
        UserError: a folder cannot be read.
    """
    found: list[Path] = []
    for entry in _entries(folder):
        if entry.is_dir():
            found += list_images(entry)
        else:
            found.append(entry)
    return found


def display_name(path: Path, root: Path) -> str:
    """The path relative to `root` as valid text, whatever bytes it consists of."""
    name = path.relative_to(root) if path.is_relative_to(root) else path
    return os.fsencode(name).decode("utf-8", "replace")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not _is_hidden(p.name))
    except PermissionError:
        raise UserError(
            f"data: {folder}: no permission to read this folder; change its mode (chmod u+rx)"
        ) from None


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX")) or name in ("Thumbs.db", "desktop.ini")


def _unfold(folder: Path) -> Path:
    entries = _entries(folder)
    if len(entries) == 1 and entries[0].is_dir() and entries[0].name == folder.name:
        return _unfold(entries[0])
    return folder


def _split_folders(root: Path) -> dict[str, Path]:
    here = {entry.name.lower(): entry for entry in _entries(root) if entry.is_dir()}
    found = {}
    for split, names in SPLIT_NAMES.items():
        folder = next((here[name] for name in names if name in here), None)
        if folder is not None:
            found[split] = _unfold(folder)
    return found


def _class_folders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir()]


def _check_classes(root: Path, classes: list[str], folders: dict[str, Path]) -> None:
    problems = Problems()
    if not classes:
        problems.add("data", f"{root}: no class folders in it; put each class into a folder")
    elif len(classes) == 1:
        inner = [folder.name for folder in _class_folders(folders.get("train", root) / classes[0])]
        hint = "give two or more"
        if len(inner) > 1:
            hint = (
                f"if its folders ({', '.join(inner[:3])}) are the classes, give {root / classes[0]}"
            )
        problems.add("data", f"{root}: only one class, {classes[0]}; {hint}")
    for split, folder in folders.items():
        unknown = [f.name for f in _class_folders(folder) if f.name not in classes]
        if unknown:
            problems.add(
                "data",
                f"{folder}: {split} has {', '.join(unknown)}, which train does not have; "
                "use the same folder names",
            )
    problems.raise_if_any()
