"""Documents in the rows of files: JSON Lines, Parquet, and Arrow as `datasets` saves it.

Text files, compressed or not, are read as bytes: in blocks, or by line from any shard on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hvdcore.errors import UserError
from textgen.data import documents
from textgen.data.documents import (
    BLOCK_BYTES,
    Document,
    Skipped,
    SourceShard,
    missing_column,
    normalized,
    row_document,
)
from textgen.data.packed import is_packed, open_packed
from textgen.data.records import MAX_RECORD, json_record

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "blocks",
    "json_documents",
    "line_shards",
    "lines",
    "table_documents",
    "table_shards",
]

_SCAN_BYTES = 1 << 22
_DECODED_BYTES = 8 << 20  # of rows decoded together, approximately
_DECODED_ROWS = 1024


def blocks(path: Path) -> Iterator[bytes]:
    """The file's bytes, decompressed, in blocks."""
    with open_packed(path) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def lines(shard: SourceShard) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line of a shard; a compressed file is one shard.

    Raises:
        UserError: a line is longer than `MAX_RECORD`.
    """
    path = Path(shard.name)
    left = shard.stop - shard.start
    with open_packed(path) as file:
        if shard.start:
            file.seek(shard.start)
        number = shard.number
        while line := file.readline(MAX_RECORD + 1):
            if len(line) > MAX_RECORD:
                raise UserError(
                    f"data: {path} line {number}: longer than {MAX_RECORD:,} bytes; give one "
                    "document a line"
                )
            yield number, line
            number += 1
            left -= len(line)
            if left <= 0 and not is_packed(path):
                return


def line_shards(path: Path) -> Iterator[SourceShard]:
    """Shards of whole lines, each a unit's bytes or slightly more, but for the last.

    Counting lines in advance reads the file one more time, at the speed of the disk; it gives each
    shard the number of its first line.
    """
    start = offset = 0
    number = first = 1
    with path.open("rb") as file:
        while block := file.read(_SCAN_BYTES):
            counted = 0
            while (end := _line_end(block, start + documents.UNIT_BYTES - offset, counted)) > 0:
                number += block.count(b"\n", counted, end)
                counted = end
                yield SourceShard(str(path), start, offset + end, first, offset + end - start)
                start, first = offset + end, number
            number += block.count(b"\n", counted)
            offset += len(block)
    if offset > start or not start:
        yield SourceShard(str(path), start, offset, first, offset - start)


def _line_end(block: bytes, wanted: int, least: int) -> int:
    """End of the first line that reaches `wanted` bytes into the block; 0 when none does."""
    if wanted > len(block):
        return 0
    return block.find(b"\n", max(wanted - 1, least, 0)) + 1


def json_documents(shard: SourceShard, column: str, skipped: Skipped) -> Iterator[Document]:
    """The documents of some lines. A line is held in memory, about four times over.

    Raises:
        UserError: a line is no JSON object with text in the column.
    """
    for number, line in lines(shard):
        line = b"".join(normalized((line,))) if number == 1 else line
        if not line.strip():
            continue
        origin = f"{shard.name} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"data: {origin}: not JSON ({error}); correct the line") from error
        yield from json_record(row, origin, column, skipped)


def table_shards(path: Path, column: str) -> Iterator[SourceShard]:
    """Row groups of a Parquet file, record batches of an Arrow one.

    Raises:
        UserError: the file cannot be read, or has no such column.
    """
    with _readable(path):
        if path.suffix.lower() == ".parquet":
            yield from _row_groups(path, column)
        else:
            yield from _record_batches(path, column)


def table_documents(shard: SourceShard, column: str, skipped: Skipped) -> Iterator[Document]:
    """The documents of some row groups or record batches.

    Raises:
        UserError: the file cannot be read, or the column holds something other than text.
    """
    path = Path(shard.name)
    row = shard.number
    with _readable(path):
        for values in _arrays(path, shard, column):
            for value in values.to_pylist():
                yield from row_document(value, f"{path} row {row}", column, skipped)
                row += 1


def _row_groups(path: Path, column: str) -> Iterator[SourceShard]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        _check_column(path, column, file.schema_arrow.names)
        number = 1
        for group in range(file.num_row_groups):
            metadata = file.metadata.row_group(group)
            yield SourceShard(str(path), group, group + 1, number, metadata.total_byte_size)
            number += metadata.num_rows


def _record_batches(path: Path, column: str) -> Iterator[SourceShard]:
    number = 1
    for index, batch in enumerate(_batches(path)):
        _check_column(path, column, batch.schema.names)
        yield SourceShard(str(path), index, index + 1, number, batch.nbytes)
        number += batch.num_rows


def _arrays(path: Path, shard: SourceShard, column: str) -> Iterator[pa.Array]:
    """The column of the shard, some rows at a time."""
    import pyarrow.parquet as pq

    if path.suffix.lower() != ".parquet":
        for index, batch in enumerate(_batches(path)):
            if shard.start <= index < shard.stop:
                rows = _rows_per_batch(batch.nbytes, batch.num_rows)
                for start in range(0, batch.num_rows, rows):
                    yield batch.column(column).slice(start, rows)
        return
    # Without an explicit buffer size a whole column of a row group is read at once.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        for group in range(shard.start, shard.stop):
            metadata = file.metadata.row_group(group)
            rows = _rows_per_batch(metadata.total_byte_size, metadata.num_rows)
            for batch in file.iter_batches(rows, row_groups=[group], columns=[column]):
                yield batch.column(0)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Memory mapped: `datasets` writes batches of 1,000 rows, which may be 1,000 books."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        try:
            yield from pa.ipc.open_stream(file)
        except pa.ArrowInvalid:
            file.seek(0)
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


def _rows_per_batch(num_bytes: int, rows: int) -> int:
    return max(1, min(_DECODED_ROWS, rows * _DECODED_BYTES // max(num_bytes, 1)))


def _check_column(path: Path, column: str, names: list[str]) -> None:
    if column not in names:
        raise missing_column(str(path), column, names)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow as pa

    form = "Parquet" if path.suffix.lower() == ".parquet" else "Arrow"
    try:
        yield
    except PermissionError:
        raise
    except (pa.ArrowException, OSError) as error:  # a damaged page is an OSError
        raise UserError(f"data: {path}: not a readable {form} file ({error})") from error
