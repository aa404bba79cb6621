"""Owns tokenizing the documents of one part into a flat file of ids and a file of offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from textgen.tokenizer import TokenIds, Tokenizer
from textgen.words import count_words

__all__ = ["Part", "Stretch", "encode_part"]

PIECE_CHARACTERS = 1 << 16
_BATCH_CHARACTERS = 1 << 22  # encoded in memory at once, beside one document's text


@dataclass(frozen=True)
class Stretch:
    """A document, or what a part holds of one.

    Attributes:
        text: UTF-8.
        from_start: whether the document's beginning is in it (end-of-text then stands before it).
        bits: information in the choices that generated it, where known.
    """

    text: bytes
    from_start: bool = True
    bits: float | None = None


@dataclass(frozen=True)
class Part:
    """Counts of one part.

    Attributes:
        documents: documents, or stretches of one.
        tokens: ids in the file, end-of-text ones included.
        bytes: UTF-8 bytes of its text.
        target_bytes: the same, without what the very first token stands for (end-of-text stands
            for none): the bytes that are predicted.
        target_words: words in those bytes (`textgen.words`).
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


def encode_part(
    stretches: Iterator[Stretch],
    tokenizer: Tokenizer,
    tokens_path: Path,
    offsets_path: Path,
    on_bytes: Callable[[int], None],
) -> Part:
    """Write the ids of all stretches to `tokens_path` and where each begins to `offsets_path`.

    Args:
        on_bytes: told how many bytes of text have been encoded since the last call.
    """
    num_bytes = first_token_bytes = num_words = 0
    bits: float | None = 0.0
    with tokens_path.open("wb") as file:
        writer = _Writer(file, tokenizer, on_bytes)
        for stretch in stretches:
            text = stretch.text.decode("utf-8")
            if not num_bytes and not stretch.from_start:
                first_token_bytes = tokenizer.first_token_bytes(text)
                num_words += count_words(stretch.text[first_token_bytes:].decode("utf-8"))
            else:
                num_words += count_words(text)
            num_bytes += len(stretch.text)
            bits = None if bits is None or stretch.bits is None else bits + stretch.bits
            writer.add(text, stretch.from_start)
        writer.flush()
    np.save(offsets_path, np.array(writer.offsets, dtype=np.int64))
    return Part(
        documents=len(writer.offsets),
        tokens=writer.tokens,
        bytes=num_bytes,
        target_bytes=num_bytes - first_token_bytes,
        target_words=num_words,
        source_bits_per_byte=bits / num_bytes if bits and num_bytes else None,
    )


class _Writer:
    """Gathers pieces into batches that are worth encoding in parallel, and writes their ids."""

    def __init__(
        self, file: IO[bytes], tokenizer: Tokenizer, on_bytes: Callable[[int], None]
    ) -> None:
        self.offsets: list[int] = []
        self.tokens = 0
        self._file = file
        self._tokenizer = tokenizer
        self._on_bytes = on_bytes
        self._pieces: list[str] = []
        self._heads: list[list[int] | None] = []  # what a document that begins here begins with
        self._pending = 0

    def add(self, text: str, from_start: bool) -> None:
        head: list[int] | None = [self._tokenizer.eot_id] if from_start else []
        for piece in self._tokenizer.pieces(text, PIECE_CHARACTERS):
            self._pieces.append(piece)
            self._heads.append(head)
            head = None
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
        self._on_bytes(sum(len(piece.encode()) for piece in self._pieces))
        self._pieces, self._heads, self._pending = [], [], 0

    def _write(self, ids: TokenIds) -> None:
        self._file.write(ids.tobytes())
        self.tokens += len(ids)
