"""What a source of news is: rows in a fixed order, each with a text and a label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

from news_cls.data.row_report import RowReport

__all__ = ["RawRow", "Source"]


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
