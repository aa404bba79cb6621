"""Owns documents in the rows of files: JSON Lines, Parquet, and Arrow as `datasets` saves it.

Owns reading text files as bytes, gzip too: in blocks, or line by line from the middle.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hvdcore.errors import UserError
from textgen.data import documents
from textgen.data.documents import (
    BLOCK_BYTES,
    Document,
    Piece,
    Skipped,
    missing_column,
    normalised,
    row_document,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "BrokenGzip",
    "blocks",
    "is_gzip",
    "json_documents",
    "line_pieces",
    "lines",
    "table_documents",
    "table_pieces",
]

BrokenGzip = zlib.error

_SCAN_BYTES = 1 << 22


def is_gzip(path: Path) -> bool:
    """Whether its name says that it is packed."""
    return path.suffix.lower() == ".gz"


def blocks(path: Path) -> Iterator[bytes]:
    """The file's bytes, unpacked, in blocks."""
    with _open(path) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def lines(piece: Piece) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line of a piece; a packed file is one piece."""
    path = Path(piece.name)
    left = piece.stop - piece.start
    with _open(path) as file:
        file.seek(piece.start)
        for number, line in enumerate(file, start=piece.number):
            yield number, line
            left -= len(line)
            if left <= 0 and not is_gzip(path):
                return


def line_pieces(path: Path) -> Iterator[Piece]:
    """Pieces of whole lines, a unit's bytes or a little more each, but the last.

    Counting lines beforehand reads the file once more, at the speed of the disk; each piece knows
    the numbers of its lines by it.
    """
    start = place = 0
    number = first = 1
    with path.open("rb") as file:
        while block := file.read(_SCAN_BYTES):
            counted = 0
            while (end := _line_end(block, start + documents.UNIT_BYTES - place, counted)) > 0:
                number += block.count(b"\n", counted, end)
                counted = end
                yield Piece(str(path), start, place + end, first, place + end - start)
                start, first = place + end, number
            number += block.count(b"\n", counted)
            place += len(block)
    if place > start or not start:
        yield Piece(str(path), start, place, first, place - start)


def _line_end(block: bytes, wanted: int, least: int) -> int:
    """Where the first line ends that reaches `wanted` bytes into the block; 0 when it does not."""
    if wanted > len(block):
        return 0
    return block.find(b"\n", max(wanted - 1, least, 0)) + 1


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")


_BYTES_AT_ONCE = 8 << 20  # of rows decoded together, about
_MOST_ROWS = 1024


def json_documents(piece: Piece, column: str, skipped: Skipped) -> Iterator[Document]:
    """The documents of some lines. A line is held in memory, some four times over.

    Raises:
        UserError: a line is no JSON object with text in the column.
    """
    for number, line in lines(piece):
        line = b"".join(normalised((line,))) if number == 1 else line
        if not line.strip():
            continue
        origin = f"{piece.name} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"data: {origin}: not JSON ({error}); mend the line") from error
        if not isinstance(row, dict):
            raise UserError(f"data: {origin}: a {type(row).__name__}, not a JSON object")
        if column not in row:
            raise missing_column(origin, column, sorted(row))
        yield from row_document(row[column], origin, column, skipped)


def table_pieces(path: Path, column: str) -> Iterator[Piece]:
    """Row groups of a Parquet file, record batches of an Arrow one.

    Raises:
        UserError: the file cannot be read, or has no such column.
    """
    with _readable(path):
        if path.suffix.lower() == ".parquet":
            yield from _row_groups(path, column)
        else:
            yield from _record_batches(path, column)


def table_documents(piece: Piece, column: str, skipped: Skipped) -> Iterator[Document]:
    """The documents of some row groups or record batches.

    Raises:
        UserError: the file cannot be read, or the column holds something other than text.
    """
    path = Path(piece.name)
    row = piece.number
    with _readable(path):
        for values in _arrays(path, piece, column):
            for value in values.to_pylist():
                yield from row_document(value, f"{path} row {row}", column, skipped)
                row += 1


def _row_groups(path: Path, column: str) -> Iterator[Piece]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        _check_column(path, column, file.schema_arrow.names)
        number = 1
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group)
            yield Piece(str(path), group, group + 1, number, about.total_byte_size)
            number += about.num_rows


def _record_batches(path: Path, column: str) -> Iterator[Piece]:
    number = 1
    for place, batch in enumerate(_batches(path)):
        _check_column(path, column, batch.schema.names)
        yield Piece(str(path), place, place + 1, number, batch.nbytes)
        number += batch.num_rows


def _arrays(path: Path, piece: Piece, column: str) -> Iterator[pa.Array]:
    """The column of the piece, some rows at a time."""
    import pyarrow.parquet as pq

    if path.suffix.lower() != ".parquet":
        for place, batch in enumerate(_batches(path)):
            if piece.start <= place < piece.stop:
                rows = _rows_at_once(batch.nbytes, batch.num_rows)
                for start in range(0, batch.num_rows, rows):
                    yield batch.column(column).slice(start, rows)
        return
    # Without a buffer of its own size a whole column of a row group is read at once.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        for group in range(piece.start, piece.stop):
            about = file.metadata.row_group(group)
            rows = _rows_at_once(about.total_byte_size, about.num_rows)
            for batch in file.iter_batches(rows, row_groups=[group], columns=[column]):
                yield batch.column(0)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Mapped, not read: `datasets` writes batches of 1,000 rows, which may be 1,000 books."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        try:
            yield from pa.ipc.open_stream(file)
        except pa.ArrowInvalid:
            file.seek(0)
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


def _rows_at_once(num_bytes: int, rows: int) -> int:
    return max(1, min(_MOST_ROWS, rows * _BYTES_AT_ONCE // max(num_bytes, 1)))


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
