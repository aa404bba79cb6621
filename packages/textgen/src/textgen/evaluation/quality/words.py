"""Owns what a word is in the judgement of text: what stands between white space, as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["first_words", "ngrams"]

_WORD = re.compile(r"\S+")


def first_words(text: str, count: int) -> str:
    """The text up to the end of its `count`-th word, or all of it if there are no more."""
    end = 0
    for number, match in enumerate(_WORD.finditer(text), start=1):
        end = match.end()
        if number == count:
            break
    return text[:end]


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """The n-grams of a text in order, repeated ones too; none when it is shorter."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
