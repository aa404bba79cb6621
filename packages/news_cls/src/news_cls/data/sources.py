"""Where news come from: the sample, files, or the hub; each as rows with a text and a label."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from hvdcore.errors import UserError
from news_cls.data.file_source import FileSource
from news_cls.data.layouts import Columns
from news_cls.data.row_report import RowReport
from news_cls.data.sample import CLASSES, write_news
from news_cls.data.source import RawRow, Source

__all__ = ["SampleSource", "find_source"]

SAMPLE_TRAIN, SAMPLE_TEST = 4000, 800
"""Pieces of news in the sample."""
SAMPLE_VERSION = 1
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


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
        from news_cls.data.hub import HubSource

        return HubSource.find(data, columns, cache)
    raise UserError(f"data: {data}: no such file or folder; {_hint(data, path)}")


def _hint(data: str, path: Path) -> str:
    names = [str(entry) for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(data, ["sample", *names], n=1)
    return f"did you mean {close[0]!r}?" if close else "give sample, a path, or OWNER/NAME"
