"""Owns cutting a document into pieces that are encoded one by one, wherever one begins to read.

Where a document is cut depends on its text and the place asked for, not on what was read before.
So several processes can each take a stretch of one long document, and none is held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

__all__ = ["Find", "Read", "cut_at", "pieces"]

Read = Callable[[int, int], bytes]
"""Bytes start to stop of a document."""

Find = Callable[[str], "int | None"]
"""The first place from 1 on, in characters, where a text may be cut, or None."""

_WINDOWS = (1 << 12, 1 << 20)
"""Bytes searched for a place to cut. What offers none in a MiB, a run of letters without a blank,
is cut where it was asked for: its ids then differ from those of the whole run."""


def cut_at(read: Read, place: int, stop: int, find: Find) -> int:
    """Where to cut at `place` or soon after, in bytes; `stop` when there is nothing before it."""
    if place >= stop:
        return stop
    for window in _WINDOWS:
        raw = read(place, min(place + window, stop))
        lead = _continuation_bytes(raw)
        text = raw[lead:].decode("utf-8", "ignore")  # the last character may be cut off
        found = find(text)
        if found is not None:
            return place + lead + len(text[:found].encode())
        if place + window >= stop:
            return stop
    return place + lead


def pieces(read: Read, start: int, stop: int, size: int, find: Find) -> Iterator[str]:
    """The text from `start` to `stop`, where it may be cut, in pieces of about `size` bytes."""
    while start < stop:
        end = cut_at(read, start + size, stop, find)
        yield read(start, end).decode("utf-8")
        start = end


def _continuation_bytes(raw: bytes) -> int:
    count = 0
    while count < len(raw) and raw[count] & 0xC0 == 0x80:
        count += 1
    return count
