"""Owns tokenizing the documents of one part into a flat file of ids and a file of offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textgen.tokenizer import Tokenizer

__all__ = ["Part", "Stretch", "encode_part"]

PIECE_CHARACTERS = 1 << 16
_BATCH_BYTES = 1 << 22  # text in memory at once, beside one document


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
        source_bits_per_byte: entropy of the choices that generated the text, where known: what a
            model that knew the generator would reach, or at most that (two series of choices may
            spell one text).
    """

    documents: int
    tokens: int
    bytes: int
    target_bytes: int
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
    writer = _Writer(tokenizer, on_bytes)
    num_bytes = first_token_bytes = 0
    bits: float | None = 0.0
    with tokens_path.open("wb") as file:
        for stretch in stretches:
            text = stretch.text.decode("utf-8")
            if not num_bytes and not stretch.from_start:
                first_token_bytes = tokenizer.first_token_bytes(text)
            num_bytes += len(stretch.text)
            bits = None if bits is None or stretch.bits is None else bits + stretch.bits
            writer.add(text, stretch.from_start)
            if writer.pending_bytes >= _BATCH_BYTES:
                writer.flush(file)
        writer.flush(file)
    np.save(offsets_path, np.array(writer.offsets, dtype=np.int64))
    return Part(
        documents=len(writer.offsets),
        tokens=writer.tokens,
        bytes=num_bytes,
        target_bytes=num_bytes - first_token_bytes,
        source_bits_per_byte=bits / num_bytes if bits and num_bytes else None,
    )


class _Writer:
    """Gathers pieces into batches that are worth encoding in parallel."""

    def __init__(self, tokenizer: Tokenizer, on_bytes: Callable[[int], None]) -> None:
        self.tokenizer = tokenizer
        self.on_bytes = on_bytes
        self.offsets: list[int] = []
        self.tokens = 0
        self.pending_bytes = 0
        self._pieces: list[str] = []
        self._begins: list[int] = []  # 0 no document begins, 1 one does, 2 with end-of-text

    def add(self, text: str, from_start: bool) -> None:
        pieces = self.tokenizer.pieces(text, PIECE_CHARACTERS)
        self._pieces += pieces
        self._begins += [2 if from_start else 1, *[0] * (len(pieces) - 1)]
        self.pending_bytes += len(text)

    def flush(self, file: Any) -> None:
        for begins, ids in zip(
            self._begins, self.tokenizer.encode_batch(self._pieces), strict=True
        ):
            if begins:
                self.offsets.append(self.tokens)
            if begins == 2:
                file.write(np.array([self.tokenizer.eot_id], self.tokenizer.dtype).tobytes())
                self.tokens += 1
            file.write(ids.tobytes())
            self.tokens += len(ids)
        self.on_bytes(self.pending_bytes)
        self._pieces, self._begins, self.pending_bytes = [], [], 0
