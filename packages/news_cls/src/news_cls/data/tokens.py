"""Tokenization and the vocabulary.

Tokens are matched by one regular expression that Python's re and TensorFlow's RE2 read alike: a run
of characters that are neither spaces nor singles, or one single, ``[^ S]+|[S]``. Singles are the
punctuation and symbols of all scripts, and the characters of scripts without spaces between words
(Han, Hiragana). Everything else forms words: letters, digits, accents and vowel signs of any
script. For English that is ``[A-Za-z0-9]+|[^ A-Za-z0-9]``. The characters are listed, because
``\\w`` is ASCII in RE2, and differs between versions of Python.

Tokens are lower-cased except acronyms: in news, US is not us and IT is not it. The vocabulary is
built from the train split alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = [
    "ACRONYM",
    "NEVER_LOWERED",
    "PADDING",
    "SIGMAS",
    "SINGLES",
    "TOKEN",
    "UNKNOWN",
    "Lexicon",
    "choose_words",
    "encode",
    "lower",
    "tokenize",
]

_SINGLE_RANGES = """
80-a9 ab-b4 b6-b9 bb-bf d7 f7 2c2-2c5 2d2-2df 2e5-2eb 2ed 2ef-2ff 375 37e 384-385 387 3f6 482
55a-55f 589-58f 5be 5c0 5c3 5c6 5f3-60f 61b-61f 66a-66d 6d4 6dd-6de 6e9 6fd-6fe 700-70f 7f6-7f9
7fe-7ff 830-83e 85e 888 890-891 8e2 964-965 970 9f2-9f3 9fa-9fb 9fd a76 af0-af1 b70 bf3-bfa c77 c7f
c84 d4f d79 df4 e3f e4f e5a-e5b f01-f17 f1a-f1f f34 f36 f38 f3a-f3d f85 fbe-fc5 fc7-fda 104a-104f
109e-109f 10fb 1360-1368 1390-1399 1400 166d-166e 16eb-16ed 1735-1736 17d4-17da 1800-180a 1fbd
1fbf-1fc1 1fcd-1fcf 1fdd-1fdf 1fed-1fef 1ffd-1ffe 2000-206f 207a-207e 208a-208e 20a0-20cf 2100-2bff
2ce5-2cea 2cf9-2cfc 2cfe-2cff 2d70 2e00-309f 30a0 30fb 3190-319f 3200-9fff e000-faff fd3e-fd4f
fdfc-fdff fe10-fe19 fe30-fe6f feff-ff0f ff1a-ff20 ff3b-ff40 ff5b-ff65 ffe0-ffff 1d000-1d1ff
1f000-3ffff f0000-10ffff
"""
"""Code points beyond ASCII, after Unicode 14: marks and symbols, private use, Hiragana and Han."""


def _as_class(ranges: str) -> str:
    """Ranges of code points as the inside of a character class."""
    parts = []
    for item in ranges.split():
        first, _, last = item.partition("-")
        parts.append(chr(int(first, 16)) + (f"-{chr(int(last, 16))}" if last else ""))
    return "".join(parts)


SINGLES = r"!-/:-@\[-`{-~" + _as_class(_SINGLE_RANGES)
"""The characters that are tokens by themselves, as the inside of a character class."""
TOKEN = f"[^ {SINGLES}]+|[{SINGLES}]"
"""A token, in cleaned text, whose only space is U+0020."""
ACRONYM = "[A-Z]{2,}"
"""A token that keeps its capitals."""
NEVER_LOWERED = "\u2c2f\ua7c0\ua7cb-\ua7dc\U00010570-\U000105bf\U00010d50-\U00010d8f"
"""Capitals of Unicode 14 and later, as the inside of a class: TensorFlow's ICU does not know them,
and only some versions of Python do."""

SIGMAS = ("\u03c2", "\u03c3")
"""The Greek sigma at the end of a word, which is replaced by the other one."""

_TOKEN = re.compile(TOKEN)
_ACRONYM = re.compile(ACRONYM)
_LOWERED = re.compile(f"[^{NEVER_LOWERED}]+")


def lower(text: str) -> str:
    """Lower-cased as TensorFlow does it; both forms of the Greek sigma become one."""
    if text.isascii():
        return text.lower()
    return _LOWERED.sub(lambda match: match.group().lower(), text).replace(*SIGMAS)


def tokenize(text: str) -> list[str]:
    """The tokens of a cleaned text.

    Example:
        >>> tokenize("The US cut AT&T's profit")
        ['the', 'US', 'cut', 'AT', '&', 't', "'", 's', 'profit']
    """
    tokens = _TOKEN.findall(text)
    return [token if _ACRONYM.fullmatch(token) else lower(token) for token in tokens]


Ids = npt.NDArray[np.int32]
PADDING, UNKNOWN = 0, 1
"""The ids that are not tokens of the vocabulary; words begin at 2."""


class Lexicon(dict[str, int]):
    """Numbers tokens in order of their first occurrence, while the data is read."""

    def __missing__(self, token: str) -> int:
        number = self[token] = len(self)
        return number

    def numbers(self, tokens: Sequence[str]) -> Ids:
        """int32 [len(tokens)]; a new token gets the next number."""
        return np.fromiter(map(self.__getitem__, tokens), dtype=np.int32, count=len(tokens))


def choose_words(tokens: Sequence[str], counts: npt.NDArray[np.int64], vocab_size: int) -> Ids:
    """Choose the tokens of the vocabulary: the most frequent first, ties by their text.

    Args:
        tokens: the distinct tokens, [n].
        counts: how often each occurs in the train split, [n]; those with 0 get no id.
        vocab_size: number of ids, including padding and unknown.

    Returns:
        int32, indices into `tokens` in the order of their ids, from id 2 on.
    """
    present = np.flatnonzero(counts)
    order = sorted(present.tolist(), key=lambda index: (-int(counts[index]), tokens[index]))
    return np.array(order[: vocab_size - 2], dtype=np.int32)


def encode(tokens: Sequence[str], ids: dict[str, int], max_length: int) -> Ids:
    """Ids of the first `max_length` tokens of a text, int32.

    An acronym without an id is looked up in lower case.

    Args:
        ids: the vocabulary's words with their ids.
    """
    kept = tokens[:max_length]
    found = (ids.get(token) or ids.get(lower(token), UNKNOWN) for token in kept)
    return np.fromiter(found, dtype=np.int32, count=len(kept))
