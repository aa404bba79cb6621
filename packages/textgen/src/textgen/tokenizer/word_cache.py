"""Owns encoding long texts word by word, each word once, for byte-level BPE.

GPT-2's pattern, which our BPE shares, never makes a token of a visible character and a blank after
it. So a text may be cut before each run of blanks, and a word always has the same ids. A book holds
few different words: looking them up is several times faster than encoding the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["WordCache", "cut_at_words", "find_word_start"]

_MAX_WORDS = 1 << 18  # some 60 MB; a corpus of endless different words starts over
_LONGEST = 64  # characters; a script without blanks makes a word of each paragraph
_WORDS = re.compile(r"\s*\S+|\s+")
_WORD_START = re.compile(r"(?<=\S)(?= \S|\n)")

# Python counts these separators as blanks, the backend's regular expressions do not.
_NOT_AGREED = re.compile("[\x1c-\x1f]")


class WordCache:
    """The ids of every word met so far.

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
        """What the backend gives for the whole text, shape [tokens]."""
        if _NOT_AGREED.search(text):
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
            if len(word) > _LONGEST:
                del self._ids[word]
        return np.frombuffer(found, dtype=self._dtype)


def find_word_start(text: str) -> int | None:
    """The first place after the beginning where `text` may be cut, in characters."""
    match = _WORD_START.search(text, 1)
    return match and match.start()


def cut_at_words(text: str, size: int) -> list[str]:
    """Pieces of `size` characters or a little more, each beginning at a word."""
    pieces = []
    start = 0
    while len(text) - start > size:
        match = _WORD_START.search(text, start + size)
        if match is None:
            break
        pieces.append(text[start : match.start()])
        start = match.start()
    return [*pieces, text[start:]]
