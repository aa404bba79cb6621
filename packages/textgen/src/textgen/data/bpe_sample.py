"""Owns which texts of a large train part BPE is learned from."""

from __future__ import annotations

from collections.abc import Iterator

from textgen.data.chunks import Segments, segment_texts
from textgen.data.document_index import SpooledText
from textgen.tokenizer.word_cache import find_word_start

__all__ = ["BPE_SAMPLE_BYTES", "bpe_texts"]

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
