"""Owns the shuffling of streams in bounded memory, resumable at any record.

As in `hvdcore.sharding`, the order comes from (seed, epoch) and never from the number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from hvdcore.sharding import Indices, eval_range, seeded_order

__all__ = ["rank_records", "shuffled", "window_order"]

T = TypeVar("T")


def window_order(num_records: int, window: int, seed: int, epoch: int, start: int = 0) -> Indices:
    """What is left, from `start` on, of the window of a shuffled stream that holds `start`.

    The stream is cut in windows of `window` records, each shuffled by itself by (seed, epoch,
    number of the window). A position is therefore one number, any place can be reached without
    reading what lies before its window, and memory is bound by the window.

    Args:
        num_records: records of the whole stream.
        start: records of the shuffled stream already taken, below `num_records`.

    Returns:
        int64 record numbers, at most `window`; call again with `start + len(result)`.
    """
    number, taken = divmod(start, window)
    first = number * window
    length = min(window, num_records - first)
    return (first + seeded_order(length, seed, 1, epoch, number))[taken:]


def shuffled(
    records: Iterable[T], *, window: int, seed: int, epoch: int, start: int = 0
) -> Iterator[T]:
    """Shuffle a stream of unknown length in memory for `window` records; see `window_order`.

    Args:
        records: the stream from its beginning, the same at every call.
        start: records of the shuffled stream already taken; those windows are read and dropped.
    """
    source = iter(records)
    number, taken = divmod(start, window)
    for _ in islice(source, number * window):
        pass
    while held := list(islice(source, window)):
        order = seeded_order(len(held), seed, 1, epoch, number)
        yield from (held[i] for i in order[taken:])
        number, taken = number + 1, 0


def rank_records(
    records: Iterable[T], global_batch_size: int, rank: int, size: int, *, drop_last: bool
) -> Iterator[list[T]]:
    """One rank's part of each global batch of a stream that every rank reads.

    Without `drop_last` the last batch is cut as evenly as it goes and a rank's part may be empty,
    so that all ranks take the same number of steps.

    Args:
        records: the (shuffled) stream in global order, the same on every rank.
        global_batch_size: a multiple of `size`, or parts differ by one.
    """
    source = iter(records)
    while batch := list(islice(source, global_batch_size)):
        if drop_last and len(batch) < global_batch_size:
            return
        part = eval_range(len(batch), rank, size)
        yield batch[part.start : part.stop]
