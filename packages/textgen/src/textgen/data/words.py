"""Owns what a word is where perplexity is told per word: a run of characters that are not space.

Space is Unicode's (`str.isspace`), so words do not depend on the tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WordCount", "count_words"]

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
