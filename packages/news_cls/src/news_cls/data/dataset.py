"""Prepared texts on disk: memory-mapped token ids and texts, split into train, val and test.

Rows of different lengths lie one after another in one flat array (`Ragged`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.prepared import PreparedData, read_meta, split_slices

__all__ = [
    "SCHEMA",
    "Names",
    "Ragged",
    "Split",
    "TextData",
    "Texts",
    "offsets_of",
    "open_data",
]

SCHEMA = 2
VOCABULARY = "words.txt"
IDS, OFFSETS, LABELS = "ids.npy", "offsets.npy", "labels.npy"
TEXTS, TEXT_OFFSETS, ORIGINS = "texts.npy", "text_offsets.npy", "origins.npy"

Offsets = npt.NDArray[np.int64]


def offsets_of(lengths: Sequence[int] | Offsets) -> Offsets:
    """The start of each row, and the end of the last one: int64 [n + 1]."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


class Ragged:
    """Rows of different lengths as views into one flat array.

    Args:
        flat: all rows, one after another; it may contain further rows.
        offsets: int64 [n + 1]; row i is `flat[offsets[i]:offsets[i + 1]]`.
        chosen: int64, the rows to take, in that order; by default all.
    """

    def __init__(
        self, flat: npt.NDArray[Any], offsets: Offsets, chosen: Offsets | None = None
    ) -> None:
        self._flat, self._offsets, self._chosen = flat, offsets, chosen

    def __len__(self) -> int:
        return len(self._offsets) - 1 if self._chosen is None else len(self._chosen)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """One row, as a view; negative indices count from the end.

        Raises:
            IndexError: there is no such row.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        position = int(index) % len(self)
        row = position if self._chosen is None else int(self._chosen[position])
        return self._flat[self._offsets[row] : self._offsets[row + 1]]

    @property
    def lengths(self) -> Offsets:
        """int64 [n]."""
        lengths = np.diff(self._offsets)
        return lengths if self._chosen is None else lengths[self._chosen]

    def take(self, indices: Offsets) -> Ragged:
        """The rows at these indices, in that order; nothing is read."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Ragged(
            self._flat, self._offsets, chosen if self._chosen is None else self._chosen[chosen]
        )

    def padded(self, indices: Offsets, length: int) -> npt.NDArray[Any]:
        """The rows at these indices, truncated or padded with 0: [len(indices), length]."""
        rows = np.asarray(indices, dtype=np.int64)
        rows = rows if self._chosen is None else self._chosen[rows]
        starts = self._offsets[rows]
        lengths = np.minimum(self._offsets[rows + 1] - starts, length)
        steps = np.arange(length)
        inside = steps < lengths[:, None]
        positions = np.where(inside, starts[:, None] + steps, 0)
        found = self._flat[positions] if len(self._flat) else np.zeros_like(positions)
        return np.where(inside, found, 0).astype(self._flat.dtype, copy=False)


class _LazyStrings(Sequence[str]):
    """Strings that are made when they are accessed."""

    def _one(self, index: int) -> str:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._one(i) for i in range(*index.indices(len(self)))]
        return self._one(index)


class Texts(_LazyStrings):
    """Texts stored as rows of UTF-8 bytes; each is decoded when it is accessed."""

    def __init__(self, rows: Ragged) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def _one(self, index: int) -> str:
        return self.rows[index].tobytes().decode()

    def take(self, indices: Offsets) -> Texts:
        """The texts at these indices, in that order; nothing is read."""
        return Texts(self.rows.take(indices))


class Names(_LazyStrings):
    """Where each text comes from, for display.

    Args:
        files: names of the files.
        origins: int64 [n, 2], file and row.
    """

    def __init__(self, files: tuple[str, ...], origins: npt.NDArray[np.int64]) -> None:
        self._files, self._origins = files, origins

    def __len__(self) -> int:
        return len(self._origins)

    def _one(self, index: int) -> str:
        file, row = self._origins[index]
        return f"{self._files[file]} row {row}"

    def take(self, indices: Offsets) -> Names:
        """The names at these indices, in that order."""
        return Names(self._files, self._origins[indices])


@dataclass(frozen=True)
class Split:
    """The texts of one split.

    Attributes:
        ids: n rows of int32 token ids, on disk.
        labels: int64 [n].
        texts: n cleaned texts, on disk.
        names: n file names with row numbers, for display.
    """

    ids: Ragged
    labels: npt.NDArray[np.int64]
    texts: Texts
    names: Names

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text, int64 [n]."""
        return self.ids.lengths

    def take(self, indices: npt.NDArray[np.int64]) -> Split:
        """The texts at these indices, in that order; still on disk."""
        return Split(
            self.ids.take(indices), self.labels[indices],
            self.texts.take(indices), self.names.take(indices),
        )  # fmt: skip


@dataclass(frozen=True)
class TextData(PreparedData[Split]):
    """All splits, and what was found while they were prepared.

    Attributes:
        words: the vocabulary in order of the ids, from id 2 on.
        max_length: tokens that were kept of a text.
    """

    words: tuple[str, ...]
    max_length: int

    @property
    def vocab_size(self) -> int:
        """Number of ids, including padding (0) and unknown (1)."""
        return len(self.words) + 2

    def report_values(self) -> dict[str, Any]:
        """What ``report.json`` records about the data."""
        return {**super().report_values(), "vocab_size": self.vocab_size}


def open_data(path: Path) -> TextData:
    """Map what `prepare` wrote. Any rank may call.

    Raises:
        UserError: it is not there, or another version wrote it.
    """
    meta = read_meta(path, SCHEMA)
    ids, texts = (np.load(path / name, mmap_mode="r") for name in (IDS, TEXTS))
    offsets, text_offsets = np.load(path / OFFSETS), np.load(path / TEXT_OFFSETS)
    labels, origins = np.load(path / LABELS), np.load(path / ORIGINS)
    files, splits = tuple(meta["files"]), {}
    for name, rows in split_slices(meta).items():
        bounds = slice(rows.start, rows.stop + 1)
        splits[name] = Split(
            Ragged(ids, offsets[bounds]), labels[rows],
            Texts(Ragged(texts, text_offsets[bounds])), Names(files, origins[rows]),
        )  # fmt: skip
    words = tuple((path / VOCABULARY).read_text(encoding="utf-8").split("\n")[:-1])
    return TextData(path, tuple(meta["classes"]), splits, meta, words, int(meta["max_length"]))
