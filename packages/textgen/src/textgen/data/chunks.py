"""Owns which stretches of which documents each task of tokenizing encodes, in the parts' order.

Owns cutting a document into pieces that are encoded one by one, wherever one begins to read.

Where a document is cut depends on its text and the place asked for, not on what was read before.
So several processes can each take a stretch of one long document, and none is held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from textgen.data.read import SpooledText
from textgen.data.splits import Split, cut_points

__all__ = [
    "TASK_BYTES",
    "Find",
    "Read",
    "Segments",
    "cut_at",
    "pieces",
    "segment_texts",
    "segments_of",
]

Read = Callable[[int, int], bytes]
"""Bytes start to stop of a document."""

Find = Callable[[str], "int | None"]
"""The first place from 1 on, in characters, where a text may be cut, or None."""

_WINDOWS = (1 << 12, 1 << 20)
"""Bytes searched for a place to cut. What offers none in a MiB, a run of letters without a blank,
is cut where it was asked for: its ids then differ from those of the whole run."""


def cut_at(read: Read, place: int, stop: int, find: Find) -> int:
    """Where to cut at `place` or soon after, in bytes; `stop` when there is nothing before it."""
    if place >= stop:
        return stop
    for window in _WINDOWS:
        raw = read(place, min(place + window, stop))
        lead = _continuation_bytes(raw)
        text = raw[lead:].decode("utf-8", "ignore")  # the last character may be cut off
        found = find(text)
        if found is not None:
            return place + lead + len(text[:found].encode())
        if place + window >= stop:
            return stop
    return place + lead


def pieces(read: Read, start: int, stop: int, size: int, find: Find) -> Iterator[str]:
    """The text from `start` to `stop`, where it may be cut, in pieces of about `size` bytes."""
    while start < stop:
        end = cut_at(read, start + size, stop, find)
        yield read(start, end).decode("utf-8")
        start = end


def _continuation_bytes(raw: bytes) -> int:
    count = 0
    while count < len(raw) and raw[count] & 0xC0 == 0x80:
        count += 1
    return count


TASK_BYTES = 16 << 20
"""Text of a task, about; a longer document is shared out among several."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Segments:
    """Stretches of documents, all arrays of one length.

    Attributes:
        document: number in the index.
        first, last: where the part's share of the document starts and stops, in bytes.
        start, stop: the stretch within it. Where it is not `first` or `last`, it is a place near
            which the text is cut.
    """

    document: Numbers
    first: Numbers
    last: Numbers
    start: Numbers
    stop: Numbers

    def __len__(self) -> int:
        return len(self.document)

    def take(self, places: slice) -> Segments:
        """Some of them."""
        return Segments(*(getattr(self, name)[places] for name in self.__dataclass_fields__))

    def tasks(self) -> list[tuple[int, slice]]:
        """Neighbours with TASK_BYTES together, about: their bytes and which they are."""
        sizes = self.stop - self.start
        ends = np.cumsum(sizes)
        task = (ends - sizes) // TASK_BYTES
        borders = [0, *(np.flatnonzero(np.diff(task)) + 1).tolist(), len(self)]
        found = [slice(a, b) for a, b in pairwise(borders) if b > a]
        return [(int(sizes[places].sum()), places) for places in found]


def segments_of(
    name: str, split: Split, texts: SpooledText, sizes: Numbers, fractions: tuple[float, float]
) -> Segments:
    """The segments of a part.

    Args:
        sizes: bytes of every document of the index.
        fractions: val and test, for documents that are cut by position.
    """
    document = split.part(name)
    first, last = np.zeros_like(document), sizes[document]
    if split.method == "position":
        bounds = [_bounds(name, texts, int(number), fractions) for number in document]
        first, last = np.array(bounds, dtype=np.int64).reshape(-1, 2).T
    held = last > first
    document, first, last = document[held], first[held], last[held]
    counts = -(-(last - first) // TASK_BYTES)
    owner = np.repeat(np.arange(len(document)), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = first[owner] + place * TASK_BYTES
    stop = np.minimum(start + TASK_BYTES, last[owner])
    return Segments(document[owner], first[owner], last[owner], start, stop)


def segment_texts(
    segments: Segments, texts: SpooledText, size: int, find: Find
) -> Iterator[tuple[int, int, Iterator[str]]]:
    """Of each segment its document, its first byte and its text in pieces of about `size` bytes."""
    columns = (segments.document, segments.first, segments.last, segments.start, segments.stop)
    for document, first, last, start, stop in zip(*(c.tolist() for c in columns), strict=True):
        read = partial(texts.read, document)
        start = start if start == first else cut_at(read, start, last, find)
        stop = stop if stop == last else cut_at(read, stop, last, find)
        yield document, start, pieces(read, start, stop, size, find)


def _bounds(
    name: str, texts: SpooledText, number: int, fractions: tuple[float, float]
) -> tuple[int, int]:
    size = texts.size(number)
    first, second = cut_points(size, partial(texts.read, number), *fractions)
    return {"train": (0, first), "test": (first, second), "val": (second, size)}[name]
