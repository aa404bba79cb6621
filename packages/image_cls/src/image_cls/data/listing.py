"""What a folder contains: splits, classes and image files, in the usual directory layouts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hvdcore.errors import Problems, UserError
from hvdcore.files.walk import Walk, leads_back, list_folder, walk_files, warn_of_left_out

__all__ = ["ImageFile", "display_name", "list_classes"]

SPLIT_NAMES = {
    "train": ("seg_train", "train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("seg_test", "test", "testing"),
}
"""Folder names of each split; Kaggle's Intel scenes have seg_train, seg_test and seg_pred."""
_IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif", ".jp2", ".ppm",
)  # fmt: skip
"""Of files that are missed where they are not read; in a class folder, the content decides."""
MAX_CLASSES = 2000
_SHOWN = 5
"""Names of a list in a message."""


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
    tops = {split: _class_folders(top, root) for split, top in folders.items()}
    classes = [folder.name for folder in tops.get("train", tops.get("", []))]
    _check_classes(root, classes, tops)
    walks = {
        (split, folder): walk_files(folder, root) for split, top in tops.items() for folder in top
    }
    beside = Walk(
        not_followed=[link for top in folders.values() for link in _links(top, root)],
        unplaced=_unplaced(root, splits),
    )
    warn_of_left_out(root, [beside, *walks.values()])
    labels = {name: label for label, name in enumerate(classes)}
    files = [
        ImageFile(path, labels[folder.name], split or None)
        for (split, folder), walk in walks.items()
        for path in walk.files
    ]
    return classes, files


def display_name(path: Path, root: Path) -> str:
    """The path relative to `root` as valid text, whatever bytes it consists of."""
    name = path.relative_to(root) if path.is_relative_to(root) else path
    return os.fsencode(name).decode("utf-8", "replace")


def _unfold(folder: Path) -> Path:
    while True:
        entries = list_folder(folder)
        inner = entries[0] if len(entries) == 1 and entries[0].is_dir() else None
        if inner is None or inner.name != folder.name or leads_back(inner, folder):
            return folder
        folder = inner


def _split_folders(root: Path) -> dict[str, Path]:
    here = {entry.name.lower(): entry for entry in list_folder(root) if entry.is_dir()}
    found = {}
    for split, names in SPLIT_NAMES.items():
        folder = next((here[name] for name in names if name in here), None)
        if folder is not None:
            found[split] = _unfold(folder)
    return found


def _class_folders(folder: Path, root: Path) -> list[Path]:
    folders = (entry for entry in list_folder(folder) if entry.is_dir())
    return [entry for entry in folders if not leads_back(entry, root)]


def _links(folder: Path, root: Path) -> list[Path]:
    """What would be class folders, if these links did not lead back into the data."""
    return [entry for entry in list_folder(folder) if entry.is_dir() and leads_back(entry, root)]


def _unplaced(root: Path, splits: dict[str, Path]) -> list[Path]:
    """Images beside the class folders, and folders and images beside the splits."""
    tops = splits.values() if splits else [root]
    found = [entry for top in tops for entry in list_folder(top) if _is_image(entry)]
    if splits:
        read = {folder.relative_to(root).parts[0] for folder in tops}
        beside = [entry for entry in list_folder(root) if entry.name not in read]
        found += [entry for entry in beside if entry.is_dir() or _is_image(entry)]
    return [entry for entry in found if not leads_back(entry, root)]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _IMAGE_SUFFIXES and path.is_file()


def _check_classes(root: Path, classes: list[str], tops: dict[str, list[Path]]) -> None:
    problems = Problems()
    if not classes:
        problems.add("data", f"{root}: no class folders in it; put each class into a folder")
    elif len(classes) == 1:
        only = tops.get("train", tops.get("", []))
        inner = [f.name for folder in only for f in _class_folders(folder, root)]
        hint = "give two or more"
        if _split_folders(only[0]):
            hint = f"the splits ({', '.join(inner[:3])}) are inside of it, so give {only[0]}"
        elif len(inner) > 1:
            hint = f"if its folders ({', '.join(inner[:3])}) are the classes, give {only[0]}"
        problems.add("data", f"{root}: only one class, {classes[0]}; {hint}")
    elif len(classes) > MAX_CLASSES:
        problems.add(
            "data",
            f"{root}: {len(classes):,} class folders, such as {', '.join(classes[:3])}; give "
            f"{MAX_CLASSES:,} or fewer, for the report has a confusion matrix of all",
        )
    known = set(classes)
    for split, folders in tops.items():
        unknown = [f.name for f in folders if f.name not in known]
        if unknown:
            more = f" and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
            problems.add(
                "data",
                f"{folders[0].parent}: {split} has {', '.join(unknown[:_SHOWN])}{more}, which "
                "train does not have; use the same folder names",
            )
    problems.raise_if_any()
