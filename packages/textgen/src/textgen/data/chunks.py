"""Owns which stretches of which documents each task of tokenizing encodes, in the parts' order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from textgen.data.document_index import SpooledText
from textgen.data.pieces import Find, cut_at, pieces
from textgen.data.splits import Split, cut_points

__all__ = ["TASK_BYTES", "Segments", "segment_texts", "segments_of"]

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
