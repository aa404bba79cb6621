"""Tokenizing: the ids of each task in files of its own, and their concatenation to a split.

Words are runs of characters that are not white space (`str.isspace`), so that figures per word do
not depend on the tokenizer.
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
from textgen.data.read import StagedText
from textgen.data.work_queue import Advance
from textgen.tokenizer.tokenizer import TokenIds, Tokenizer
from textgen.tokenizer.word_cache import find_word_start

__all__ = [
    "BPE_SAMPLE_BYTES",
    "SplitCounts",
    "TextSpan",
    "WordCount",
    "bpe_texts",
    "count_words",
    "encode_task",
    "join_tasks",
]

BPE_SAMPLE_BYTES = 32 << 20
"""BPE is trained on this much of the train split, or all of it where it is smaller. The trainer
holds every distinct word, 32 bytes per byte: a gigabyte for a script without blanks."""

_CHUNK_BYTES = 1 << 18
_BATCH_CHARACTERS = 1 << 22  # encoded in memory at once
# Split at once: the words of a whole book in a list would take many times its size.
_SPLIT_CHARACTERS = 1 << 16


def bpe_texts(train: Segments, texts: StagedText, limit: int = BPE_SAMPLE_BYTES) -> Iterator[str]:
    """The first `limit` bytes of the train split, or slightly more, in chunks.

    Documents are in the order of their content hashes: the first ones are a random sample.
    """
    left = limit
    for _, _, chunks in segment_texts(train, texts, _CHUNK_BYTES, find_word_start):
        for text in chunks:
            if left <= 0:
                return
            yield text
            left -= len(text.encode())


def count_words(text: str) -> int:
    """`len(text.split())`, in little memory."""
    count = 0
    for start in range(0, len(text), _SPLIT_CHARACTERS):
        chunk = text[start : start + _SPLIT_CHARACTERS]
        count += len(chunk.split())
        if start and not chunk[0].isspace() and not text[start - 1].isspace():
            count -= 1  # a word that was cut in two
    return count


@dataclass
class WordCount:
    """Number of words of texts that come in chunks; a word that was cut in two counts once.

    Attributes:
        is_continued: whether the first chunk starts in the middle of a word.
        is_open: whether the last chunk ends in a word that may continue.
    """

    num_words: int = 0
    is_continued: bool = False
    is_open: bool = False
    is_empty: bool = True

    def add(self, text: str, *, opens: bool) -> None:
        """Add the next chunk; `opens` says that a document begins with it."""
        if text:
            continues = not opens and not text[0].isspace()
            self.join(WordCount(count_words(text), continues, not text[-1].isspace(), False))

    def join(self, other: WordCount) -> None:
        """Append the counts of the text that follows."""
        if other.is_empty:
            return
        self.num_words += other.num_words - (self.is_open and other.is_continued)
        if self.is_empty:
            self.is_continued, self.is_empty = other.is_continued, False
        self.is_open = other.is_open


@dataclass(frozen=True)
class TextSpan:
    """A document, or a section of one.

    Attributes:
        texts: its text, in chunks that are encoded independently.
        from_start: whether it begins at the document's start (the ids that begin a document are
            then put before it).
        opens: whether the split's share of the document begins with it.
        bits: entropy of the choices that generated it, NaN where unknown.
    """

    texts: Iterator[str]
    from_start: bool
    opens: bool
    bits: float


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one split.

    Attributes:
        documents: documents, or sections of documents.
        tokens: ids in the file, end-of-text included.
        bytes: UTF-8 bytes of its text.
        target_bytes: the same without the bytes of the very first token (end-of-text has none): the
            bytes that are predicted.
        target_words: words in those bytes (`textgen.data.encode`).
        source_bits_per_byte: entropy of the choices that generated the text, where known: an upper
            bound of what a model that knew the generator would reach (different choices may
            give the same text).
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
    spans: Iterator[TextSpan], tokenizer: Tokenizer, prefix: Path, advance: Advance
) -> dict[str, Any]:
    """Write the ids of all spans to PREFIX.bin, and the document offsets to PREFIX.npy.

    Args:
        advance: called with the bytes of text encoded since the last call.

    Returns:
        `tokens`, `bytes`, `first_token_bytes` (0 when an id without text is the first), `bits`, and
        `words`, the fields of a `WordCount`; the first token of the split counts for none.
        `leading_end` is 1 where the first id ends the document before, as where documents begin
        with an id of their own; `item_bytes` is the size of an id.
    """
    first_token_bytes = 0
    bits, words = 0.0, WordCount()
    with prefix.with_suffix(".bin").open("wb") as file:
        writer = _Writer(file, tokenizer, advance)
        for number, span in enumerate(spans):
            bits += span.bits
            heads: list[int] | None = list(tokenizer.start_ids) if span.from_start else []
            heads = heads if span.opens else None
            for text in span.texts:
                predicted = text
                is_first_of_split = not number and span.opens and not first_token_bytes
                if is_first_of_split and not span.from_start:
                    first_token_bytes = tokenizer.first_token_bytes(text)
                    predicted = text.encode()[first_token_bytes:].decode()
                words.add(predicted, opens=heads is not None)
                writer.add(text, heads)
                heads = None
        writer.flush()
        file.flush()
        os.fsync(file.fileno())
    np.save(prefix.with_suffix(".npy"), np.array(writer.offsets, dtype=np.int64))
    return {
        "tokens": writer.tokens,
        "bytes": writer.bytes,
        "first_token_bytes": first_token_bytes,
        "bits": None if math.isnan(bits) else bits,
        "words": asdict(words),
        "leading_end": int(writer.begins_with_end),
        "item_bytes": tokenizer.dtype.itemsize,
    }


def join_tasks(
    tasks: Sequence[tuple[Path, dict[str, Any]]],
    tokens_path: Path,
    offsets_path: Path,
    beat: Callable[[], None],
) -> SplitCounts:
    """Concatenate the tasks of one split, in their order.

    No document ends before the first, so an end-of-text there is left out.

    Args:
        tasks: prefix and result of each (see `encode_task`).
        beat: called before each.
    """
    tokens = 0
    offsets = [np.empty(0, dtype=np.int64)]
    with tokens_path.open("wb") as file:
        for prefix, result in tasks:
            beat()
            with prefix.with_suffix(".bin").open("rb") as made:
                skipped = 0 if tokens else result.get("leading_end", 0)
                made.seek(skipped * result.get("item_bytes", 0))
                shutil.copyfileobj(made, file, 1 << 20)
            starts = np.load(prefix.with_suffix(".npy"), allow_pickle=False)
            tokens -= skipped
            offsets.append(starts + tokens)
            tokens += result["tokens"]
    joined = np.concatenate(offsets)
    np.save(offsets_path, joined)
    num_bytes = sum(result["bytes"] for _, result in tasks)
    first = tasks[0][1]["first_token_bytes"] if tasks else 0
    known = [result["bits"] for _, result in tasks if result["bits"] is not None]
    bits = sum(known) if len(known) == len(tasks) else 0
    return SplitCounts(
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
    """Encodes chunks in batches that are large enough to be parallel, and writes their ids."""

    def __init__(self, file: IO[bytes], tokenizer: Tokenizer, advance: Advance) -> None:
        self.offsets: list[int] = []
        self.tokens = 0
        self.bytes = 0
        self._file = file
        self._tokenizer = tokenizer
        self._advance = advance
        self._chunks: list[str] = []
        self._heads: list[list[int] | None] = []  # ids put before a document that begins here
        self._pending = 0
        self.begins_with_end = False

    def add(self, chunk: str, head: list[int] | None) -> None:
        self._chunks.append(chunk)
        self._heads.append(head)
        self._pending += len(chunk)
        if self._pending >= _BATCH_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        encoded = self._tokenizer.encode_batch(self._chunks)
        for head, ids in zip(self._heads, encoded, strict=True):
            if head is not None:
                if head and self._tokenizer.has_own_start:
                    self.begins_with_end |= not self.tokens
                    self._write(np.array([self._tokenizer.eot_id], self._tokenizer.dtype))
                self.offsets.append(self.tokens)
                self._write(np.array(head, self._tokenizer.dtype))
            self._write(ids)
        size = sum(len(chunk.encode()) for chunk in self._chunks)
        self.bytes += size
        self._advance(size)
        self._chunks, self._heads, self._pending = [], [], 0

    def _write(self, ids: TokenIds) -> None:
        self._file.write(ids.tobytes())
        self.tokens += len(ids)
