"""Resolving `--data`: the sample, a path, or a data set on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from hvdcore.errors import UserError
from hvdcore.files.cache import expand_user
from textgen.data.documents import Document, Skipped, Unit
from textgen.data.files import find_files

__all__ = ["Source", "find_source"]

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")


class Source(Protocol):
    """Where documents come from."""

    @property
    def name(self) -> str:
        """For messages and meta.json."""

    def signature(self) -> str:
        """Changes when the documents may have changed."""

    def units(self, text_column: str) -> list[Unit]:
        """The units, in the order of the source; the same in every process."""

    def documents(self, unit: Unit, text_column: str, skipped: Skipped) -> Iterator[Document]:
        """All documents of a unit."""


def find_source(data: str, cache: Path) -> Source:
    """The source that `data` names.

    Args:
        cache: folder of the prepared corpora, where the last answers of the hub are kept.

    Raises:
        UserError: there is none.
    """
    if data == "sample":
        from textgen.data.sample import SampleSource

        return SampleSource()
    path = expand_user(data)
    if path.exists():
        return find_files(path)
    near = _near(path)
    if near or not _HUB_ID.fullmatch(data) or path.suffix:
        hint = f"did you mean {near}?" if near else "give sample, a file, a folder or a hub id"
        raise UserError(f"data: no such path {data!r}; {hint}")
    from textgen.data.hub import HubSource

    return HubSource.find(data, cache)


def _near(path: Path) -> str | None:
    folder = path.parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    if str(folder) == ".":
        names.append("sample")
    close = get_close_matches(path.name, names, n=1)
    return str(folder / close[0]) if close else None
