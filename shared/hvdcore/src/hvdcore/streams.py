"""Owns how files, their records and their tokens are cut into parts for ranks and blocks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvdcore.sharding import Indices, eval_range

__all__ = [
    "FilePart",
    "assign_files",
    "block_span",
    "line_range",
    "locate",
    "num_blocks",
    "record_parts",
]


class FilePart(NamedTuple):
    """Records `start` to `stop` (exclusive) of the file number `file`."""

    file: int
    start: int
    stop: int


def assign_files(num_bytes: Sequence[int], size: int) -> list[list[int]]:
    """Share whole files out so that the ranks' bytes are near equal.

    Longest first to the rank with the least (Graham 1969: at most 4/3 of the best possible),
    ties by file number and rank, so every rank works out the same lists by itself.

    Args:
        num_bytes: size of each file.
        size: number of ranks.

    Returns:
        For each rank its file numbers, ascending; every file once; a rank may have none.
    """
    shards: list[list[int]] = [[] for _ in range(size)]
    load = [0] * size
    for file in sorted(range(len(num_bytes)), key=lambda i: (-num_bytes[i], i)):
        rank = min(range(size), key=lambda r: (load[r], len(shards[r]), r))
        shards[rank].append(file)
        load[rank] += num_bytes[file]
    return [sorted(shard) for shard in shards]


def record_parts(num_records: Sequence[int], rank: int, size: int) -> list[FilePart]:
    """A rank's contiguous part of all records of a list of files, as parts of files.

    Over the ranks each record comes exactly once and the parts differ by at most one record.
    """
    mine = eval_range(sum(num_records), rank, size)
    parts, first = [], 0
    for file, count in enumerate(num_records):
        start, stop = max(mine.start - first, 0), min(mine.stop - first, count)
        if start < stop:
            parts.append(FilePart(file, start, stop))
        first += count
    return parts


def line_range(path: Path, part: int, num_parts: int) -> tuple[int, int]:
    """The bytes (start, stop) of one of `num_parts` parts of a text file, cut at line ends.

    A line belongs to the part in which it starts, so each comes exactly once; a part may be
    empty. Lines end at a newline byte.

    Raises:
        OSError: when the file cannot be read.
    """
    with path.open("rb") as file:
        num_bytes = file.seek(0, os.SEEK_END)

        def line_start(wanted: int) -> int:
            if wanted <= 0:
                return 0
            # From one byte before: a line that starts exactly at the cut is not skipped.
            file.seek(wanted - 1)
            file.readline()
            return min(file.tell(), num_bytes)

        return line_start(num_bytes * part // num_parts), line_start(
            num_bytes * (part + 1) // num_parts
        )


def num_blocks(num_tokens: int, context_length: int) -> int:
    """Full training blocks in a stream of tokens; each token but the first is a target once.

    Block i has the inputs i*T .. i*T+T-1 and, one further, the targets, so T blocks need one
    token more than their inputs; tokens after the last full block are left out.
    """
    return max(0, (num_tokens - 1) // context_length)


def block_span(block: int, context_length: int) -> tuple[int, int]:
    """First and last+1 token of a block with its targets: T + 1 tokens."""
    return block * context_length, (block + 1) * context_length + 1


def locate(records: Indices, num_records: Sequence[int]) -> tuple[Indices, Indices]:
    """Turn record numbers over all files into (file numbers, records in the file), int64 each."""
    ends = np.cumsum(np.asarray(num_records, dtype=np.int64))
    files = np.searchsorted(ends, records, side="right")
    starts = ends - np.asarray(num_records, dtype=np.int64)
    return files.astype(np.int64), records - starts[files]
