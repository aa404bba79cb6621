"""Where news come from: the sample, files, or the hub; each as rows with a text and a label."""

from __future__ import annotations

import difflib
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hvdcore.errors import UserError
from news_cls.labels import read_class_names
from news_cls.layouts import Columns
from news_cls.listing import list_tables, shown_name
from news_cls.parquet_rows import parquet_classes
from news_cls.row_report import RowReport
from news_cls.sample import CLASSES, write_news
from news_cls.tables import read_table

__all__ = ["FileSource", "RawRow", "SampleSource", "Source", "find_source"]

SAMPLE_TRAIN, SAMPLE_TEST = 4000, 800
"""Pieces of news in the sample."""
SAMPLE_VERSION = 1
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


class RawRow(NamedTuple):
    """A text as it stands in a file, and what the file says of it.

    Attributes:
        file: number of the file in the source's `files`.
        row: see `TableRow.row`.
        part: `train`, `val`, `test`, or None where the data is to be cut by us.
    """

    file: int
    row: int
    part: str | None
    label: object
    first_label: int | None
    text: str


class Source(ABC):
    """Rows in a fixed order."""

    name: str
    files: tuple[str, ...] = ()
    """Names for people."""

    @abstractmethod
    def rows(self, report: RowReport) -> Iterator[RawRow]:
        """Every row with a usable text; the others are put down in `report`, and so is what is
        wrong with a file."""

    @abstractmethod
    def class_names(self) -> tuple[tuple[str, ...], str]:
        """The classes in order of their numbers where the data names them, and where it does."""

    @abstractmethod
    def signature(self) -> str:
        """Changes when the rows may have changed; cheap."""


class SampleSource(Source):
    """The sample: 4,000 pieces in train, 800 in test."""

    def __init__(self) -> None:
        self.name, self.files = "sample", ("sample",)

    def rows(self, report: RowReport) -> Iterator[RawRow]:
        for number in range(SAMPLE_TRAIN + SAMPLE_TEST):
            label, text = write_news(number)
            part = "train" if number < SAMPLE_TRAIN else "test"
            yield RawRow(0, number + 1, part, label, 0, text)

    def class_names(self) -> tuple[tuple[str, ...], str]:
        return CLASSES, "the sample"

    def signature(self) -> str:
        return f"sample {SAMPLE_VERSION}"


class FileSource(Source):
    """Tables in a file or a folder.

    Raises:
        UserError: nothing there that could be read.
    """

    def __init__(self, root: Path, columns: Columns) -> None:
        self.root, self.columns = root, columns
        self.name = str(root)
        self._files, self._others = list_tables(root)
        self.files = tuple(shown_name(file.path, root) for file in self._files)

    def rows(self, report: RowReport) -> Iterator[RawRow]:
        for other in self._others:
            report.notes.add("file not read, for its name says no part", str(other.name))
        for number, file in enumerate(self._files):
            with report.catching():
                for row in read_table(file.path, self.files[number], self.columns, report):
                    yield RawRow(number, row.row, file.part, row.label, row.first_label, row.text)

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
        """Where a classes.txt may lie: beside the files, and in the folder that was given."""
        beside = [file.path.parent for file in self._files]
        return list(dict.fromkeys([*beside, *([self.root] if self.root.is_dir() else [])]))

    def signature(self) -> str:
        digest = hashlib.sha256(repr((self.columns, self.name)).encode())
        for folder in self._folders():
            digest.update(repr(_stamp(folder / "classes.txt")).encode())
        for file in self._files:
            digest.update(repr((file.part, str(file.path), *_stamp(file.path))).encode())
        return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns


def find_source(data: str, columns: Columns, cache: Path) -> Source:
    """The source that `--data` means.

    Args:
        cache: folder where the hub's last answers are kept.

    Raises:
        UserError: neither `sample`, nor a path, nor the name of a data set on the hub.
    """
    path = Path(data).expanduser()
    if data == "sample":
        if columns.are_named:
            raise UserError("data: the sample has no columns to name; leave --text-column out")
        return SampleSource()
    if path.exists():
        return FileSource(path, columns)
    if _HUB_ID.fullmatch(data) and not path.parent.is_dir() and path.suffix not in (".csv", ".gz"):
        from news_cls.hub import HubSource

        return HubSource.find(data, columns, cache)
    raise UserError(f"data: {data}: no such file or folder; {_hint(data, path)}")


def _hint(data: str, path: Path) -> str:
    names = [str(entry) for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(data, ["sample", *names], n=1)
    return f"did you mean {close[0]!r}?" if close else "give sample, a path, or OWNER/NAME"
