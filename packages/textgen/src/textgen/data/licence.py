"""Project Gutenberg's texts without its licence: what stands before the START line and after END.

Every book has the same 19 kB of it; a model would learn it by heart, and test books would be scored
on what stood in train books.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

__all__ = ["without_licence"]

_HEAD_BYTES = 1 << 15
"""Where the START line is looked for; before it are the title, the credits, and in books of the
nineties the licence."""
_END_BYTES = 400
"""No longer than this are the lines that begin the footer."""
_NAME = re.compile(rb"project gutenberg", re.IGNORECASE)
_START = re.compile(
    rb"(?:\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG E(?:BOOK|TEXT)[^*]{0,300}\*\*\*"
    rb"|\*END\*? ?THE SMALL PRINT)[^\n]{0,200}\n\s{0,200}",
    re.IGNORECASE,
)
_END = re.compile(
    rb"\n[*\s]{0,20}END OF (?:TH(?:E|IS) )?PROJECT GUTENBERG(?:'S)? ?E?(?:BOOK|TEXT)?[^\n]{0,200}",
    re.IGNORECASE,
)


def without_licence(chunks: Iterable[bytes], found: Callable[[], None]) -> Iterator[bytes]:
    """The text between the START and the END line of a Gutenberg book; other text as it is.

    Args:
        chunks: of a document, of any size.
        found: called once if there is a START line.
    """
    rest = iter(chunks)
    head = b""
    for chunk in rest:
        head += chunk
        if len(head) >= _HEAD_BYTES:
            break
    starts = list(_START.finditer(head, 0, _HEAD_BYTES)) if _NAME.search(head) else []
    if not starts:
        yield head
        yield from rest
        return
    found()
    yield from _until_end(head[starts[-1].end() :], rest)


def _until_end(held: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    while True:
        if match := _END.search(held):
            yield held[: match.start() + 1]
            return
        if (chunk := next(rest, None)) is None:
            yield held
            return
        yield held[:-_END_BYTES]
        held = held[-_END_BYTES:] + chunk
