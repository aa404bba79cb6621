"""Owns the question whether bytes are text, and text that a language model learns from.

The measures are coarse on purpose: prose, verse and dialogue of every script pass, and so does
most of what else people keep in text files. What fails is counted, named and left out.
"""

from __future__ import annotations

import codecs

import numpy as np
import numpy.typing as npt

__all__ = ["TextCheck"]

_JUDGED_FROM = 1000  # bytes beside blanks; what is shorter is too little to tell
_MOST_CONTROL = 0.01  # of all bytes
_LEAST_LETTERS = 0.1  # of the bytes beside blanks
_LONG_RUN = 60  # bytes of letters and digits without a blank between
_MOST_IN_LONG_RUNS = 0.5  # of the bytes beside blanks

_BLANKS = list(b"\t\n\v\f\r ")
_CONTROL = [code for code in [*range(1, 32), 127] if code not in _BLANKS]
# Every byte of a character beyond ASCII counts as a letter: no script may fail here.
_LETTERS = [*range(65, 91), *range(97, 123), *range(128, 256)]
_ENDS_A_RUN = np.ones(256, dtype=bool)
_ENDS_A_RUN[[*range(48, 58), *range(65, 91), *range(97, 123), *b"+/=_-"]] = False


class TextCheck:
    """Fed a document block by block; says at the end why it is none, if it is none."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_utf8 = True
        self._counts = np.zeros(256, dtype=np.int64)
        self._in_long_runs = 0

    def feed(self, block: bytes, codes: npt.NDArray[np.uint8]) -> None:
        """Take the next block; `codes` are its bytes."""
        self._decode(block)
        self._counts += np.bincount(codes, minlength=256)
        ends = np.flatnonzero(_ENDS_A_RUN[codes])
        runs = np.diff(ends, prepend=-1, append=len(codes)) - 1
        self._in_long_runs += int(runs[runs >= _LONG_RUN].sum())

    @property
    def failed(self) -> bool:
        """Whether it is known already that this is no text: the rest need not be read."""
        return not self._is_utf8 or bool(self._counts[0])

    def reason(self) -> str | None:
        """Why the document is none, or None when it is one."""
        if self._counts[0]:
            return "not text (holds NUL bytes)"
        self._decode(b"", final=True)
        if not self._is_utf8:
            return "not text (not valid UTF-8)"
        size = int(self._counts.sum())
        ink = size - int(self._counts[_BLANKS].sum())
        if not ink:
            return "empty"
        if ink < _JUDGED_FROM:
            return None
        if self._counts[_CONTROL].sum() > _MOST_CONTROL * size:
            return "not text (control characters)"
        if self._counts[_LETTERS].sum() < _LEAST_LETTERS * ink:
            return "not text (hardly a letter)"
        if self._in_long_runs > _MOST_IN_LONG_RUNS * ink:
            return "not text (long runs without blanks)"
        return None

    def _decode(self, block: bytes, *, final: bool = False) -> None:
        try:
            if self._is_utf8:
                self._decoder.decode(block, final)
        except UnicodeDecodeError:
            self._is_utf8 = False
