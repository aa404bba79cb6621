"""Prepared news on disk: ids and texts as memory-mapped arrays, cut into train, val and test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.parts import first_of_each_class
from hvdcore.classifier.splits import PARTS
from hvdcore.errors import UserError
from hvdcore.files.json_files import read_json_object
from news_cls.data.ragged import Names, Ragged, Texts

__all__ = ["SCHEMA", "Part", "TextData", "is_complete", "open_data"]

SCHEMA = 2
META, WORDS = "meta.json", "words.txt"
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
    words = tuple((path / WORDS).read_text(encoding="utf-8").split("\n")[:-1])
    return TextData(path, tuple(meta["classes"]), words, int(meta["max_length"]), parts, meta)
