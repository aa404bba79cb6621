"""Encoding long texts word by word, each distinct word once, for byte-level BPE.

GPT-2's pre-tokenizer, which our BPE shares, never makes a token of a visible character and a blank
after it. So a text may be cut before each run of blanks, and a word always has the same ids. A book
has few distinct words: looking them up is several times faster than encoding the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["WordCache", "cut_at_words", "find_word_start"]

_MAX_WORDS = 1 << 18  # about 60 MB; the cache is emptied when it is full
_MAX_CACHED = 64  # characters; without blanks a whole paragraph is one word
_WORDS = re.compile(r"\s*\S+|\s+")
_WORD_START = re.compile(r"(?<=\S)(?= \S|\n)")

# Blanks to Python, but not to the regular expressions of the backend.
_DISPUTED = re.compile("[\x1c-\x1f]")


class WordCache:
    """The ids of the words seen so far.

    Args:
        encode: ids of each of several words.
        dtype: of the ids.
    """

    def __init__(
        self, encode: Callable[[Sequence[str]], list[npt.NDArray[Any]]], dtype: np.dtype[Any]
    ) -> None:
        self._encode = encode
        self._dtype = dtype
        self._ids: dict[str, bytes] = {}

    def encode(self, text: str) -> npt.NDArray[Any]:
        """The ids that the backend gives for the whole text, [tokens]."""
        if _DISPUTED.search(text):
            return self._encode([text])[0]
        words = _WORDS.findall(text)
        distinct = set(words)
        if len(self._ids) + len(distinct) > _MAX_WORDS:
            self._ids = {}
        new = list(distinct.difference(self._ids))
        ids = self._encode(new)
        self._ids.update(zip(new, (each.tobytes() for each in ids), strict=True))
        found = b"".join(map(self._ids.__getitem__, words))
        for word in new:
            if len(word) > _MAX_CACHED:
                del self._ids[word]
        return np.frombuffer(found, dtype=self._dtype)


def find_word_start(text: str) -> int | None:
    """The first position after the start where `text` may be cut, in characters."""
    match = _WORD_START.search(text, 1)
    return match and match.start()


def cut_at_words(text: str, size: int) -> list[str]:
    """Chunks of `size` characters or slightly more, each beginning at a word."""
    chunks = []
    start = 0
    while len(text) - start > size:
        match = _WORD_START.search(text, start + size)
        if match is None:
            break
        chunks.append(text[start : match.start()])
        start = match.start()
    return [*chunks, text[start:]]
