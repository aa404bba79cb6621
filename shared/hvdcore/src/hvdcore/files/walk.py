"""Finding the files below a data folder: in order, each once, through links and without loops."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hvdcore.errors import UserError

__all__ = ["Walk", "is_hidden", "leads_back", "list_folder", "walk_files", "warn_of_left_out"]

_EXAMPLES = 3
_OF_THE_SYSTEM = {
    "Thumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found",
}  # fmt: skip
"""What Windows, a Synology disk station and ext4 put into folders."""
_logger = logging.getLogger(__name__)


@dataclass
class Walk:
    """What was found below a folder.

    Attributes:
        files: in the order of their names, folder by folder; links that lead nowhere included.
        not_followed: links to folders whose files are met without them, or that lead in a circle.
        special: pipes, sockets and devices, which nobody can read as data.
        unplaced: what looks like data but does not lie where data is looked for.
    """

    files: list[Path] = field(default_factory=list)
    not_followed: list[Path] = field(default_factory=list)
    special: list[Path] = field(default_factory=list)
    unplaced: list[Path] = field(default_factory=list)


def is_hidden(name: str) -> bool:
    """Whether a file or folder belongs to the system and not to the data."""
    return name.startswith((".", "__MACOSX")) or name in _OF_THE_SYSTEM


def list_folder(folder: Path, hidden: Callable[[str], bool] = is_hidden) -> list[Path]:
    """The entries of a folder that are not hidden, sorted by name.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if not hidden(name)]
    except PermissionError:
        raise UserError(
            f"data: {folder}: no permission to read this folder; change its mode (chmod u+rx)"
        ) from None
    except NotADirectoryError:  # nor a file, where a caller takes one
        raise UserError(
            f"data: {folder}: no folder but a pipe, socket or device; give a file or a folder"
        ) from None
    except OSError as error:
        raise UserError(f"data: {folder}: folder cannot be read ({error.strerror})") from error


def leads_back(link: Path, root: Path) -> bool:
    """Whether a path is a link to a folder that holds `root` or the link, or that lies in `root`.

    What such a link leads to is met without it, under a name of its own.
    """
    if not link.is_symlink():
        return False
    try:
        target, top, here = link.resolve(strict=True), root.resolve(), link.parent.resolve()
    except (OSError, RuntimeError):  # a link to itself
        return False
    return any(a.is_relative_to(b) for a, b in ((target, top), (top, target), (here, target)))


def walk_files(
    folder: Path, root: Path | None = None, hidden: Callable[[str], bool] = is_hidden
) -> Walk:
    """All files below a folder, however deep, each once.

    Links to folders elsewhere are followed; those that lead back into `root`, or to a folder that
    was visited before, are not.

    Args:
        root: the whole data set, of which `folder` is a part; default `folder`.

    Raises:
        UserError: a folder cannot be read.
    """
    root, found = root or folder, Walk()
    visited = {_identity(folder)}
    # Not by recursion: folders may be nested deeper than Python's stack.
    waiting = list_folder(folder, hidden)[::-1]
    while waiting:
        path = waiting.pop()
        if path.is_dir():
            identity = _identity(path)
            if leads_back(path, root) or identity in visited:
                found.not_followed.append(path)
                continue
            visited.add(identity)
            waiting += list_folder(path, hidden)[::-1]
        elif path.is_file() or not path.exists():
            found.files.append(path)
        else:
            found.special.append(path)
    return found


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise UserError(f"data: {folder}: folder cannot be read ({error.strerror})") from error
    return status.st_dev, status.st_ino


def warn_of_left_out(root: Path, walks: Sequence[Walk]) -> None:
    """Tell the user what was found below `root` and is not read, with how many there are."""
    for why, paths in (
        ("links that lead back into the data, not followed",
         [path for walk in walks for path in walk.not_followed]),
        ("pipes, sockets or devices, left out",
         [path for walk in walks for path in walk.special]),
        ("outside of the folders that are read, left out",
         [path for walk in walks for path in walk.unplaced]),
    ):  # fmt: skip
        if paths:
            names = ", ".join(_shown(path, root) for path in paths[:_EXAMPLES])
            more = ", ..." if len(paths) > _EXAMPLES else ""
            _logger.warning("data: %s: %s: %d (%s%s)", _shown(root), why, len(paths), names, more)


def _shown(path: Path, root: Path | None = None) -> str:
    """As valid text, whatever bytes the name consists of."""
    name = path.relative_to(root) if root is not None and path.is_relative_to(root) else path
    return os.fsencode(name).decode("utf-8", "replace")
