"""Prepared news on disk: ids and texts as memory-mapped arrays, cut into train, val and test.

Rows of unlike length that lie one after another in one array on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.score import first_of_each_class
from hvdcore.classifier.splits import PARTS
from hvdcore.errors import UserError
from hvdcore.files.json_files import read_json_object
from news_cls.config import TrainConfig

__all__ = [
    "SCHEMA",
    "Names",
    "Part",
    "Ragged",
    "TextData",
    "Texts",
    "is_complete",
    "offsets_of",
    "open_data",
    "train_part",
]

Offsets = npt.NDArray[np.int64]


def offsets_of(lengths: Sequence[int] | Offsets) -> Offsets:
    """Where each row begins, and last where the last one ends: int64 [n + 1]."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


class Ragged:
    """Rows as views into one flat array.

    Args:
        flat: all rows, one after another; may be longer than these rows.
        offsets: int64 [n + 1]; row i is `flat[offsets[i]:offsets[i + 1]]`.
        chosen: int64 rows of these that are meant, in that order; by default all.
    """

    def __init__(
        self, flat: npt.NDArray[Any], offsets: Offsets, chosen: Offsets | None = None
    ) -> None:
        self._flat, self._offsets, self._chosen = flat, offsets, chosen

    def __len__(self) -> int:
        return len(self._offsets) - 1 if self._chosen is None else len(self._chosen)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """One row, a view; an index from the end may be negative.

        Raises:
            IndexError: there is no such row.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        place = int(index) % len(self)
        row = place if self._chosen is None else int(self._chosen[place])
        return self._flat[self._offsets[row] : self._offsets[row + 1]]

    @property
    def offsets(self) -> Offsets:
        """int64 [n + 1], into `flat`.

        Raises:
            ValueError: rows were chosen, which do not follow one another.
        """
        if self._chosen is not None:
            raise ValueError("chosen rows have no offsets; use lengths")
        return self._offsets

    @property
    def flat(self) -> npt.NDArray[Any]:
        """The whole array that the offsets point into."""
        return self._flat

    @property
    def lengths(self) -> Offsets:
        """int64 [n]."""
        lengths = np.diff(self._offsets)
        return lengths if self._chosen is None else lengths[self._chosen]

    def take(self, indices: Offsets) -> Ragged:
        """Some of the rows, in that order; nothing is read."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Ragged(
            self._flat, self._offsets, chosen if self._chosen is None else self._chosen[chosen]
        )

    def padded(self, indices: Offsets, length: int) -> npt.NDArray[Any]:
        """Some of the rows, cut and filled up with 0: [len(indices), length], in memory."""
        rows = np.asarray(indices, dtype=np.int64)
        rows = rows if self._chosen is None else self._chosen[rows]
        starts = self._offsets[rows]
        lengths = np.minimum(self._offsets[rows + 1] - starts, length)
        steps = np.arange(length)
        inside = steps < lengths[:, None]
        places = np.where(inside, starts[:, None] + steps, 0)
        found = self._flat[places] if len(self._flat) else np.zeros_like(places)
        return np.where(inside, found, 0).astype(self._flat.dtype, copy=False)


class Texts(Sequence[str]):
    """Texts out of rows of UTF-8 bytes; each is decoded when it is asked for."""

    def __init__(self, rows: Ragged) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.rows[index].tobytes().decode()

    def take(self, indices: Offsets) -> Texts:
        """Some of the texts, in that order; nothing is read."""
        return Texts(self.rows.take(indices))


class Names(Sequence[str]):
    """Where each text comes from, for people.

    Args:
        files: names of the files.
        origins: int64 [n, 2], file and row.
    """

    def __init__(self, files: tuple[str, ...], origins: npt.NDArray[np.int64]) -> None:
        self._files, self._origins = files, origins

    def __len__(self) -> int:
        return len(self._origins)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        file, row = self._origins[index]
        return f"{self._files[file]} row {row}"

    def take(self, indices: Offsets) -> Names:
        """Some of the names, in that order."""
        return Names(self._files, self._origins[indices])


SCHEMA = 2
META, VOCABULARY = "meta.json", "words.txt"
IDS, OFFSETS, LABELS = "ids.npy", "offsets.npy", "labels.npy"
TEXTS, TEXT_OFFSETS, ORIGINS = "texts.npy", "text_offsets.npy", "origins.npy"


@dataclass(frozen=True)
class Part:
    """Texts of one part.

    Attributes:
        ids: n rows of int32, `ids[i]` of as many as the text has tokens; on disk.
        labels: int64 [n].
        texts: n cleaned texts; on disk.
        names: n file names with row numbers, for people.
    """

    ids: Ragged
    labels: npt.NDArray[np.int64]
    texts: Texts
    names: Names

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where each text begins in `ids.flat`, and last where the last one ends: int64 [n + 1].

        Raises:
            ValueError: the part was taken by indices, and its texts do not follow one another.
        """
        return self.ids.offsets

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text, int64 [n]."""
        return self.ids.lengths

    def take(self, indices: npt.NDArray[np.int64]) -> Part:
        """Some of the texts, in that order; still on disk."""
        return Part(
            self.ids.take(indices), self.labels[indices],
            self.texts.take(indices), self.names.take(indices),
        )  # fmt: skip


@dataclass(frozen=True)
class TextData:
    """All parts, and what was found on the way to them.

    Attributes:
        words: the vocabulary in order of the ids, from id 2 on.
        max_length: tokens that were kept of a text.
    """

    path: Path
    classes: tuple[str, ...]
    words: tuple[str, ...]
    max_length: int
    parts: dict[str, Part]
    meta: dict[str, Any]

    @property
    def key(self) -> str:
        """Names the content: equal for the same texts, whatever file they come from.

        The folder's name says that, and after a hyphen where the texts come from.
        """
        return self.path.name.partition("-")[0]

    @property
    def vocab_size(self) -> int:
        """Ids in all, with those of padding (0) and unknown tokens (1)."""
        return len(self.words) + 2

    def first_of_each_class(self, split: str, count: int | None) -> Part:
        """`count` texts of a part, as many of each class; all of them for None.

        Raises:
            UserError: there are fewer.
        """
        part = self.parts[split]
        if count is None or count == len(part):
            return part
        return part.take(
            first_of_each_class(part.labels, count, field="num_train_texts", samples="texts")
        )


def is_complete(path: Path) -> bool:
    """Whether the folder holds prepared data, whole: meta.json is written last."""
    return (path / META).is_file()


def open_data(path: Path) -> TextData:
    """Map what `prepare` wrote. Any rank may call.

    Raises:
        UserError: it is not there or of another version.
    """
    meta = read_json_object(path / META)
    if meta.get("schema") != SCHEMA:
        raise UserError(f"{path}: prepared by another version; delete it and prepare again")
    arrays = {name: np.load(path / name, mmap_mode="r") for name in (IDS, TEXTS)}
    offsets, text_offsets = np.load(path / OFFSETS), np.load(path / TEXT_OFFSETS)
    labels, origins = np.load(path / LABELS), np.load(path / ORIGINS)
    parts, start = {}, 0
    for name in PARTS:
        stop = start + int(meta["parts"][name])
        ids = Ragged(arrays[IDS], offsets[start : stop + 1])
        texts = Texts(Ragged(arrays[TEXTS], text_offsets[start : stop + 1]))
        names = Names(tuple(meta["files"]), origins[start:stop])
        parts[name] = Part(ids, labels[start:stop], texts, names)
        start = stop
    words = tuple((path / VOCABULARY).read_text(encoding="utf-8").split("\n")[:-1])
    return TextData(path, tuple(meta["classes"]), words, int(meta["max_length"]), parts, meta)


def train_part(config: TrainConfig, data: TextData) -> Part:
    """The train texts, or as many of them as were asked for."""
    return data.first_of_each_class("train", config.num_train_texts)
