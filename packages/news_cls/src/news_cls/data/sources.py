"""The source that ``--data`` names: the sample, files, or a data set on the Hugging Face hub.

A data set on the hub is downloaded as files, which are read like any others; none of its code runs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

from hvdcore.errors import UserError
from hvdcore.files.cache import expand_user
from hvdcore.files.hub import HubSet, fetch_files, find_hub_set
from news_cls.data.layouts import Columns
from news_cls.data.listing import SPLIT_NAMES
from news_cls.data.row_report import RowReport
from news_cls.data.sample import CLASSES, write_news
from news_cls.data.source import FileSource, RawRow, Source

__all__ = [
    "HubSource",
    "SampleSource",
    "find_source",
]

SAMPLE_TRAIN, SAMPLE_TEST = 4000, 800
"""Texts in the sample."""
SAMPLE_VERSION = 1
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


class SampleSource(Source):
    """The sample: 4,000 texts in train, 800 in test."""

    def __init__(self) -> None:
        self.name, self.files = "sample", ("sample",)

    def rows(self, report: RowReport) -> Iterator[RawRow]:
        for number in range(SAMPLE_TRAIN + SAMPLE_TEST):
            label, text = write_news(number)
            split = "train" if number < SAMPLE_TRAIN else "test"
            yield RawRow(0, number + 1, split, label, 0, text)

    def class_names(self) -> tuple[tuple[str, ...], str]:
        return CLASSES, "the sample"

    def signature(self) -> str:
        return f"sample {SAMPLE_VERSION}"


def find_source(data: str, columns: Columns, cache: Path) -> Source:
    """The source that `--data` names.

    Args:
        cache: folder for the hub's last responses.

    Raises:
        UserError: it is not `sample`, a path, or the name of a data set on the hub.
    """
    path = expand_user(data)
    if data == "sample":
        if columns.are_named:
            raise UserError("data: the sample has no columns; leave --text-column out")
        return SampleSource()
    if path.exists():
        return FileSource(path, columns)
    if _HUB_ID.fullmatch(data) and not path.parent.is_dir() and path.suffix not in (".csv", ".gz"):
        return HubSource.find(data, columns, cache)
    raise UserError(f"data: {data}: no such file or folder; {_hint(data, path)}")


def _hint(data: str, path: Path) -> str:
    names = [str(entry) for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(data, ["sample", *names], n=1)
    return f"did you mean {close[0]!r}?" if close else "give sample, a path, or OWNER/NAME"


_SUFFIXES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
"""The first of these that a data set has is read."""
_NOT_DATA = ("dataset_infos.json", "dataset_info.json", "config.json", "package.json")


class HubSource(Source):
    """`owner/name`, or `owner/name:folder` if a data set contains several.

    The files are downloaded when the rows are first read; data that was prepared from them before
    needs no download.
    """

    def __init__(self, hub_set: HubSet, folder: str, columns: Columns) -> None:
        self.name = hub_set.hub_id + (f":{folder}" if folder else "")
        self._set, self._folder, self._columns = hub_set, folder, columns

    @classmethod
    def find(cls, data: str, columns: Columns, cache: Path) -> HubSource:
        """Look the data set up on the hub.

        Raises:
            UserError: there is none, it has no data files, or the hub cannot be reached.
        """
        hub_id, _, folder = data.partition(":")
        source = cls(find_hub_set(hub_id, cache, "'./packages/news_cls[hub]'"), folder, columns)
        source.data_files()
        return source

    def data_files(self) -> list[str]:
        """The files to download.

        Raises:
            UserError: there are none, or several sets of them.
        """
        named = [name for name in self._set.files if PurePosixPath(name).name not in _NOT_DATA]
        by_suffix = ([n for n in named if n.endswith((s, f"{s}.gz"))] for s in _SUFFIXES)
        found = next((names for names in by_suffix if names), [])
        if not found:
            raise UserError(
                f"data: {self.name}: no {', '.join(_SUFFIXES)} on the hub (it may need code of "
                "its own to load, which is not run); give another, or a path"
            )
        folders = sorted({_folder(name) for name in found})
        wanted = self._folder or ("data" if "data" in folders else folders[0])
        if wanted not in folders or (len(folders) > 1 and not self._folder and wanted != "data"):
            listed = ", ".join(f"{self._set.hub_id}:{folder}" for folder in folders if folder)
            raise UserError(f"data: {self.name}: several sets; give one of {listed or 'none'}")
        return [name for name in found if _folder(name) == wanted]

    @cached_property
    def _downloaded(self) -> FileSource:
        names = self.data_files()
        root = fetch_files(self._set, names)
        folder = _folder(names[0])
        return FileSource(root / folder if folder else root, self._columns)

    @property
    def files(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names for display; downloads the files."""
        return self._downloaded.files

    def rows(self, report: RowReport) -> Iterator[RawRow]:
        return self._downloaded.rows(report)

    def class_names(self) -> tuple[tuple[str, ...], str]:
        return self._downloaded.class_names()

    def signature(self) -> str:
        return f"hub {self.name} {self._set.revision} {self._columns}"


def _folder(name: str) -> str:
    """The folder of a file, without those that only name the split."""
    folders = PurePosixPath(name).parts[:-1]
    words = {word for names in SPLIT_NAMES.values() for word in names}
    return "/".join(folder for folder in folders if folder.lower() not in words)
