"""The vocabulary: which tokens have a number, from the train part alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from news_cls.data.tokens import lower

__all__ = ["PADDING", "UNKNOWN", "Lexicon", "choose_words", "encode"]

Ids = npt.NDArray[np.int32]
PADDING, UNKNOWN = 0, 1
"""The ids that stand for no token of the vocabulary; words begin at 2."""


class Lexicon(dict[str, int]):
    """Numbers for tokens in order of their first coming, for the time of reading."""

    def __missing__(self, token: str) -> int:
        number = self[token] = len(self)
        return number

    def numbers(self, tokens: Sequence[str]) -> Ids:
        """int32 [len(tokens)]; a new token gets the next number."""
        return np.fromiter(map(self.__getitem__, tokens), dtype=np.int32, count=len(tokens))


def choose_words(tokens: Sequence[str], counts: npt.NDArray[np.int64], vocab_size: int) -> Ids:
    """Which tokens get an id: the most frequent first, and by their text where they tie.

    Args:
        tokens: the distinct tokens, [n].
        counts: how often each stands in the train part, [n]; those with 0 get no id.
        vocab_size: ids in all, with those of padding and of unknown tokens.

    Returns:
        int32, places in `tokens` in the order of their ids, from id 2 on.
    """
    present = np.flatnonzero(counts)
    order = sorted(present.tolist(), key=lambda place: (-int(counts[place]), tokens[place]))
    return np.array(order[: vocab_size - 2], dtype=np.int32)


def encode(tokens: Sequence[str], ids: dict[str, int], max_length: int) -> Ids:
    """Ids of the first `max_length` tokens of a text, int32.

    An acronym without an id is read as the word in small letters.

    Args:
        ids: the vocabulary's words with their ids.
    """
    kept = tokens[:max_length]
    found = (ids.get(token) or ids.get(lower(token), UNKNOWN) for token in kept)
    return np.fromiter(found, dtype=np.int32, count=len(kept))
