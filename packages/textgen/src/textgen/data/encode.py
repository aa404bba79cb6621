"""Owns tokenizing: the ids of one task's texts in a file, and all tasks' files as a part.

Owns which texts of a large train part BPE is learned from.

Owns what a word is where perplexity is told per word: a run of characters that are not space.

Space is Unicode's (`str.isspace`), so words do not depend on the tokenizer.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from textgen.data.chunks import Segments, segment_texts
from textgen.data.read import SpooledText
from textgen.data.work_queue import Tell
from textgen.tokenizer.tokenizer import TokenIds, Tokenizer
from textgen.tokenizer.word_cache import find_word_start

__all__ = [
    "BPE_SAMPLE_BYTES",
    "Part",
    "Stretch",
    "WordCount",
    "bpe_texts",
    "count_words",
    "encode_task",
    "join_tasks",
]

BPE_SAMPLE_BYTES = 32 << 20
"""BPE is learned from this much of the train part, or all of it where it is smaller. The trainer
holds every different word, 32 bytes a byte: a gigabyte where a script has no blanks."""

_PIECE_BYTES = 1 << 18


def bpe_texts(train: Segments, texts: SpooledText, limit: int = BPE_SAMPLE_BYTES) -> Iterator[str]:
    """The train part's first `limit` bytes or a little more, in pieces.

    Documents stand in the order of their content hashes: the first are as good as drawn by lot.
    """
    left = limit
    for _, _, pieces in segment_texts(train, texts, _PIECE_BYTES, find_word_start):
        for text in pieces:
            if left <= 0:
                return
            yield text
            left -= len(text.encode())


_CHARACTERS_AT_ONCE = 1 << 16
"""Split in one go: the words of a whole book in a list would take many times its size."""


def count_words(text: str) -> int:
    """`len(text.split())`, in little memory."""
    count = 0
    for start in range(0, len(text), _CHARACTERS_AT_ONCE):
        piece = text[start : start + _CHARACTERS_AT_ONCE]
        count += len(piece.split())
        if start and not piece[0].isspace() and not text[start - 1].isspace():
            count -= 1  # a word that the cut runs through
    return count


@dataclass
class WordCount:
    """Words of texts that come in pieces; a word that a cut runs through counts once.

    Attributes:
        is_continued: whether the first piece goes on with a document, in the middle of a word.
        is_open: whether the last piece ends in a word that may go on.
    """

    num_words: int = 0
    is_continued: bool = False
    is_open: bool = False
    is_empty: bool = True

    def add(self, text: str, *, opens: bool) -> None:
        """The next piece; `opens` says that a document begins with it."""
        if text:
            goes_on = not opens and not text[0].isspace()
            self.join(WordCount(count_words(text), goes_on, not text[-1].isspace(), False))

    def join(self, other: WordCount) -> None:
        """What comes after this."""
        if other.is_empty:
            return
        self.num_words += other.num_words - (self.is_open and other.is_continued)
        if self.is_empty:
            self.is_continued, self.is_empty = other.is_continued, False
        self.is_open = other.is_open


_BATCH_CHARACTERS = 1 << 22  # encoded in memory at once


@dataclass(frozen=True)
class Stretch:
    """A document, or a stretch of one.

    Attributes:
        texts: its text, in pieces that may be encoded one by one.
        from_start: whether the document's beginning is in it (end-of-text then stands before it).
        opens: whether a part's share of the document begins with it.
        bits: information in the choices that generated it, NaN where unknown.
    """

    texts: Iterator[str]
    from_start: bool
    opens: bool
    bits: float


@dataclass(frozen=True)
class Part:
    """Counts of one part.

    Attributes:
        documents: documents, or stretches of one.
        tokens: ids in the file, end-of-text ones included.
        bytes: UTF-8 bytes of its text.
        target_bytes: the same, without what the very first token stands for (end-of-text stands
            for none): the bytes that are predicted.
        target_words: words in those bytes (`textgen.data.encode`).
        source_bits_per_byte: entropy of the choices that generated the text, where known: what a
            model that knew the generator would reach, or at most that (two series of choices may
            spell one text).
    """

    documents: int
    tokens: int
    bytes: int
    target_bytes: int
    target_words: int
    source_bits_per_byte: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def encode_task(
    stretches: Iterator[Stretch], tokenizer: Tokenizer, place: Path, tell: Tell
) -> dict[str, Any]:
    """Write the ids of all stretches to PLACE.bin, and where each document begins to PLACE.npy.

    Args:
        tell: told how many bytes of text have been encoded since the last call.

    Returns:
        `tokens`, `bytes`, `first_token_bytes` (0 when end-of-text is the first), `bits`, and
        `words`, the fields of a `WordCount`; bytes of the first task's first token hold none.
    """
    first_token_bytes = 0
    bits, words = 0.0, WordCount()
    with place.with_suffix(".bin").open("wb") as file:
        writer = _Writer(file, tokenizer, tell)
        for number, stretch in enumerate(stretches):
            bits += stretch.bits
            heads: list[int] | None = [tokenizer.eot_id] if stretch.from_start else []
            heads = heads if stretch.opens else None
            for text in stretch.texts:
                predicted = text
                is_first_of_part = not number and stretch.opens and not first_token_bytes
                if is_first_of_part and not stretch.from_start:
                    first_token_bytes = tokenizer.first_token_bytes(text)
                    predicted = text.encode()[first_token_bytes:].decode()
                words.add(predicted, opens=heads is not None)
                writer.add(text, heads)
                heads = None
        writer.flush()
        file.flush()
        os.fsync(file.fileno())
    np.save(place.with_suffix(".npy"), np.array(writer.offsets, dtype=np.int64))
    return {
        "tokens": writer.tokens,
        "bytes": writer.bytes,
        "first_token_bytes": first_token_bytes,
        "bits": None if math.isnan(bits) else bits,
        "words": asdict(words),
    }


def join_tasks(
    tasks: Sequence[tuple[Path, dict[str, Any]]],
    tokens_path: Path,
    offsets_path: Path,
    beat: Callable[[], None],
) -> Part:
    """Put the tasks of one part together, in their order.

    Args:
        tasks: place and result of each (see `encode_task`).
        beat: called before each.
    """
    tokens = 0
    offsets = [np.empty(0, dtype=np.int64)]
    with tokens_path.open("wb") as file:
        for place, result in tasks:
            beat()
            with place.with_suffix(".bin").open("rb") as made:
                shutil.copyfileobj(made, file, 1 << 20)
            offsets.append(np.load(place.with_suffix(".npy"), allow_pickle=False) + tokens)
            tokens += result["tokens"]
    joined = np.concatenate(offsets)
    np.save(offsets_path, joined)
    num_bytes = sum(result["bytes"] for _, result in tasks)
    first = tasks[0][1]["first_token_bytes"] if tasks else 0
    known = [result["bits"] for _, result in tasks if result["bits"] is not None]
    bits = sum(known) if len(known) == len(tasks) else 0
    return Part(
        documents=len(joined),
        tokens=tokens,
        bytes=num_bytes,
        target_bytes=num_bytes - first,
        target_words=_words([result["words"] for _, result in tasks]),
        source_bits_per_byte=bits / num_bytes if bits and num_bytes else None,
    )


def _words(counts: Sequence[dict[str, Any]]) -> int:
    total = WordCount()
    for count in counts:
        total.join(WordCount(**count))
    return total.num_words


class _Writer:
    """Gathers pieces into batches that are worth encoding in parallel, and writes their ids."""

    def __init__(self, file: IO[bytes], tokenizer: Tokenizer, tell: Tell) -> None:
        self.offsets: list[int] = []
        self.tokens = 0
        self.bytes = 0
        self._file = file
        self._tokenizer = tokenizer
        self._tell = tell
        self._pieces: list[str] = []
        self._heads: list[list[int] | None] = []  # what a document that begins here begins with
        self._pending = 0

    def add(self, piece: str, head: list[int] | None) -> None:
        self._pieces.append(piece)
        self._heads.append(head)
        self._pending += len(piece)
        if self._pending >= _BATCH_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        encoded = self._tokenizer.encode_batch(self._pieces)
        for head, ids in zip(self._heads, encoded, strict=True):
            if head is not None:
                self.offsets.append(self.tokens)
                self._write(np.array(head, self._tokenizer.dtype))
            self._write(ids)
        size = sum(len(piece.encode()) for piece in self._pieces)
        self.bytes += size
        self._tell(size)
        self._pieces, self._heads, self._pending = [], [], 0

    def _write(self, ids: TokenIds) -> None:
        self._file.write(ids.tobytes())
        self.tokens += len(ids)
