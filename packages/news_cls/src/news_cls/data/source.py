"""Sources of rows, each with a text and a label: the interface, and files on disk."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from news_cls.data.labels import read_class_names
from news_cls.data.layouts import Columns
from news_cls.data.listing import display_name, list_tables
from news_cls.data.row_report import RowReport
from news_cls.data.tables import parquet_classes, read_table

__all__ = [
    "FileSource",
    "RawRow",
    "Source",
]


class RawRow(NamedTuple):
    """A text as it is in a file, and what the file says about it.

    Attributes:
        file: number of the file in the source's `files`.
        row: see `TableRow.row`.
        split: `train`, `val`, `test`, or None if the data has no splits.
    """

    file: int
    row: int
    split: str | None
    label: object
    first_label: int | None
    text: str


class Source(ABC):
    """Rows in a fixed order."""

    name: str
    files: tuple[str, ...] = ()
    """Names for display."""

    @abstractmethod
    def rows(self, report: RowReport) -> Iterator[RawRow]:
        """The rows with a usable text; the others, and problems of files, are added to `report`."""

    @abstractmethod
    def class_names(self) -> tuple[tuple[str, ...], str]:
        """The classes in order of their numbers, and where the data names them; empty if it does
        not."""

    @abstractmethod
    def signature(self) -> str:
        """Changes when the rows may have changed; cheap to compute."""


class FileSource(Source):
    """Tables in a file or a folder.

    Raises:
        UserError: there is nothing to read.
    """

    def __init__(self, root: Path, columns: Columns) -> None:
        self.root, self.columns = root, columns
        self.name = str(root)
        self._files, self._others = list_tables(root)
        self.files = tuple(display_name(file.path, root) for file in self._files)

    def rows(self, report: RowReport) -> Iterator[RawRow]:
        for other in self._others:
            report.notes.add("file not read, its name contains no split", str(other.name))
        for number, file in enumerate(self._files):
            with report.catching():
                for row in read_table(file.path, self.files[number], self.columns, report):
                    yield RawRow(number, row.row, file.split, row.label, row.first_label, row.text)

    def class_names(self) -> tuple[tuple[str, ...], str]:
        for folder in self._folders():
            names = read_class_names(folder / "classes.txt")
            if names:
                return names, "classes.txt"
        label = self.columns.label or "label"
        for file in self._files:
            names = parquet_classes(file.path, label)
            if names:
                return names, "the Parquet file"
        return (), ""

    def _folders(self) -> list[Path]:
        """Where a classes.txt may be: beside the files, and in the given folder."""
        beside = [file.path.parent for file in self._files]
        return list(dict.fromkeys([*beside, *([self.root] if self.root.is_dir() else [])]))

    def signature(self) -> str:
        digest = hashlib.sha256(repr((self.columns, self.name)).encode())
        for folder in self._folders():
            digest.update(repr(_stamp(folder / "classes.txt")).encode())
        for file in self._files:
            digest.update(repr((file.split, str(file.path), *_stamp(file.path))).encode())
        return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns
