"""Cutting documents into chunks that can be encoded independently, and into segments for tasks.

Where a document is cut depends on its text and the position asked for, not on what was read before.
So several processes can each encode a segment of one long document, and none holds it in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from textgen.data.read import StagedText
from textgen.data.splits import SplitIndices, cut_points

__all__ = [
    "TASK_BYTES",
    "Find",
    "Read",
    "Segments",
    "cut_at",
    "segment_texts",
    "segments_of",
    "split_text",
]

TASK_BYTES = 16 << 20
"""Approximate text of a task; a longer document is divided among several."""

Numbers = npt.NDArray[np.int64]

Read = Callable[[int, int], bytes]
"""Bytes [start, stop) of a document."""

Find = Callable[[str], "int | None"]
"""The first position from 1 on, in characters, where a text may be cut, or None."""

_WINDOWS = (1 << 12, 1 << 20)
"""Bytes searched for a position to cut at. A run of letters without a blank for a MiB is cut where
it was asked for: its ids then differ from those of the whole run."""


def cut_at(read: Read, position: int, stop: int, find: Find) -> int:
    """Where to cut at or soon after `position`, in bytes; `stop` where nothing may be cut."""
    if position >= stop:
        return stop
    for window in _WINDOWS:
        raw = read(position, min(position + window, stop))
        lead = _continuation_bytes(raw)
        text = raw[lead:].decode("utf-8", "ignore")  # the last character may be cut off
        found = find(text)
        if found is not None:
            return position + lead + len(text[:found].encode())
        if position + window >= stop:
            return stop
    return position + lead


def split_text(read: Read, start: int, stop: int, size: int, find: Find) -> Iterator[str]:
    """The text from `start` to `stop` in chunks of about `size` bytes, cut where `find` allows."""
    while start < stop:
        end = cut_at(read, start + size, stop, find)
        yield read(start, end).decode("utf-8")
        start = end


def _continuation_bytes(raw: bytes) -> int:
    count = 0
    while count < len(raw) and raw[count] & 0xC0 == 0x80:
        count += 1
    return count


@dataclass(frozen=True)
class Segments:
    """Sections of documents, as arrays of equal length.

    Attributes:
        document: number in the index.
        first, last: the bytes [first, last) of the document that belong to the split.
        start, stop: the segment within them. Unless it is `first` or `last`, the text is cut near
            that position.
    """

    document: Numbers
    first: Numbers
    last: Numbers
    start: Numbers
    stop: Numbers

    def __len__(self) -> int:
        return len(self.document)

    def take(self, rows: slice) -> Segments:
        """Some of the segments."""
        return Segments(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def tasks(self) -> list[tuple[int, slice]]:
        """Neighboring segments with about TASK_BYTES together: their bytes and their rows."""
        sizes = self.stop - self.start
        ends = np.cumsum(sizes)
        task = (ends - sizes) // TASK_BYTES
        borders = [0, *(np.flatnonzero(np.diff(task)) + 1).tolist(), len(self)]
        found = [slice(a, b) for a, b in pairwise(borders) if b > a]
        return [(int(sizes[rows].sum()), rows) for rows in found]


def segments_of(
    name: str,
    split: SplitIndices,
    texts: StagedText,
    sizes: Numbers,
    fractions: tuple[float, float],
) -> Segments:
    """The segments of a split.

    Args:
        sizes: bytes of every document of the index.
        fractions: of val and test, for documents that are cut by position.
    """
    document = split.of(name)
    first, last = np.zeros_like(document), sizes[document]
    if split.method == "position":
        bounds = [_bounds(name, texts, int(number), fractions) for number in document]
        first, last = np.array(bounds, dtype=np.int64).reshape(-1, 2).T
    held = last > first
    document, first, last = document[held], first[held], last[held]
    counts = -(-(last - first) // TASK_BYTES)
    owner = np.repeat(np.arange(len(document)), counts)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = first[owner] + index * TASK_BYTES
    stop = np.minimum(start + TASK_BYTES, last[owner])
    return Segments(document[owner], first[owner], last[owner], start, stop)


def segment_texts(
    segments: Segments, texts: StagedText, size: int, find: Find
) -> Iterator[tuple[int, int, Iterator[str]]]:
    """The document, the first byte and the text in chunks of about `size` bytes of each segment."""
    columns = (segments.document, segments.first, segments.last, segments.start, segments.stop)
    for document, first, last, start, stop in zip(*(c.tolist() for c in columns), strict=True):
        read = partial(texts.read, document)
        start = start if start == first else cut_at(read, start, last, find)
        stop = stop if stop == last else cut_at(read, stop, last, find)
        yield document, start, split_text(read, start, stop, size, find)


def _bounds(
    name: str, texts: StagedText, number: int, fractions: tuple[float, float]
) -> tuple[int, int]:
    size = texts.size(number)
    first, second = cut_points(size, partial(texts.read, number), *fractions)
    return {"train": (0, first), "test": (first, second), "val": (second, size)}[name]
