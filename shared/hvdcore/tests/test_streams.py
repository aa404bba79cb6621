"""Files, records, lines and token blocks: every part known by hand or covered exactly once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvdcore.streams import (
    FilePart,
    assign_files,
    block_span,
    line_range,
    locate,
    num_blocks,
    record_parts,
)


@pytest.mark.parametrize(
    ("num_bytes", "size", "files"),
    [
        ([5, 9, 1, 4], 2, [[1, 2], [0, 3]]),
        ([3, 3, 3], 2, [[0, 2], [1]]),
        ([7], 3, [[0], [], []]),
        ([], 2, [[], []]),
        ([0, 0, 0, 0], 2, [[0, 2], [1, 3]]),
    ],
)
def test_files_by_hand(num_bytes: list[int], size: int, files: list[list[int]]) -> None:
    assert assign_files(num_bytes, size) == files


@given(st.lists(st.integers(0, 1000), max_size=30), st.integers(1, 8))
def test_every_file_once_and_the_load_bounded(num_bytes: list[int], size: int) -> None:
    shards = assign_files(num_bytes, size)
    assert sorted(f for shard in shards for f in shard) == list(range(len(num_bytes)))
    loads = [sum(num_bytes[f] for f in shard) for shard in shards]
    # Greedy: the longest is above the shortest by one file at most.
    assert max(loads) - min(loads) <= max(num_bytes, default=0)


def test_records_by_hand() -> None:
    assert record_parts([3, 0, 4], 0, 2) == [FilePart(0, 0, 3), FilePart(2, 0, 1)]
    assert record_parts([3, 0, 4], 1, 2) == [FilePart(2, 1, 4)]
    assert record_parts([1], 1, 2) == []


@given(st.lists(st.integers(0, 20), max_size=8), st.integers(1, 7))
def test_every_record_once(counts: list[int], size: int) -> None:
    seen = [
        (part.file, record)
        for rank in range(size)
        for part in record_parts(counts, rank, size)
        for record in range(part.start, part.stop)
    ]
    assert seen == [(file, record) for file, count in enumerate(counts) for record in range(count)]


def test_lines_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"ab\ncdef\ng\n")
    assert [line_range(path, part, 3) for part in range(3)] == [(0, 3), (3, 8), (8, 10)]


@given(st.lists(st.binary(max_size=9).filter(lambda b: b"\n" not in b), max_size=12))
def test_every_line_once(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    path = tmp_path_factory.mktemp("lines") / "text"
    path.write_bytes(data)
    for num_parts in (1, 2, 3, 7):
        spans = [line_range(path, part, num_parts) for part in range(num_parts)]
        assert b"".join(data[start:stop] for start, stop in spans) == data
        for start, stop in spans:
            # A part begins at a line's start, unless it is empty at the very end.
            assert start in (0, stop) or data[start - 1 : start] == b"\n"


@pytest.mark.parametrize(
    ("num_tokens", "context_length", "blocks"),
    [(0, 4, 0), (4, 4, 0), (5, 4, 1), (8, 4, 1), (9, 4, 2), (1, 1, 0), (3, 1, 2)],
)
def test_num_blocks(num_tokens: int, context_length: int, blocks: int) -> None:
    assert num_blocks(num_tokens, context_length) == blocks


@given(st.integers(0, 200), st.integers(1, 16))
def test_each_token_is_a_target_once(num_tokens: int, context_length: int) -> None:
    targets: list[int] = []
    for block in range(num_blocks(num_tokens, context_length)):
        start, stop = block_span(block, context_length)
        assert stop - start == context_length + 1
        targets += range(start + 1, stop)
    assert targets == list(range(1, len(targets) + 1))
    assert num_tokens - 1 - len(targets) < context_length


def test_locate() -> None:
    files, records = locate(np.array([0, 2, 3, 6]), [3, 0, 4])
    assert files.tolist() == [0, 0, 2, 2]
    assert records.tolist() == [0, 2, 0, 3]
