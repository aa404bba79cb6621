"""The format of a file, detected from its first bytes and not from its name; and opening it."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from hvdcore.errors import UserError

__all__ = ["FileFormat", "detect_format", "open_text", "reading"]

_HEAD = 4096
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_REFUSED = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save the sheet as CSV"),
    (b"BZh", "compressed with bzip2; decompress it"),
    (b"\xfd7zXZ", "compressed with xz; decompress it"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; decompress it"),
    (b"ARROW1", "an Arrow file; save it as Parquet"),
    (b"\xff\xff\xff\xff", "an Arrow stream; save it as Parquet (to_parquet of datasets)"),
)


@dataclass(frozen=True)
class FileFormat:
    """What the content shows.

    Attributes:
        kind: `json` is one array of objects, `json_lines` one object per line.
        encoding: of text; UTF-8 unless there is a byte-order mark of another.
        notes: where the content differs from the file's name.
    """

    kind: Literal["csv", "json", "json_lines", "parquet"]
    is_gzip: bool = False
    encoding: str = "utf-8"
    notes: tuple[str, ...] = ()


@contextmanager
def reading(path: Path, shown: str) -> Iterator[None]:
    """Turn errors in reading a file into a UserError.

    Raises:
        UserError: no permission, truncated, or damaged.
    """
    try:
        yield
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"data: {shown}: damaged gzip ({error}); download it again") from error
    except EOFError as error:
        raise UserError(f"data: {shown}: truncated gzip; download it again") from error
    except UnicodeError as error:
        raise UserError(
            f"data: {shown}: not UTF-16 as its byte-order mark says; save it as UTF-8"
        ) from error
    except OSError as error:
        raise UserError(f"data: {shown}: cannot be read ({error.strerror or error})") from error


def detect_format(path: Path, shown: str) -> FileFormat:
    """The format of a file, from its first bytes.

    Args:
        shown: its name for display.

    Raises:
        UserError: it cannot be read, is empty, or is in no supported format.
    """
    with reading(path, shown):
        with path.open("rb") as file:
            head = file.read(_HEAD)
        is_gzip = head.startswith(b"\x1f\x8b")
        if is_gzip:
            with gzip.open(path) as packed:
                head = packed.read(_HEAD)
    if not head.strip():
        raise UserError(f"data: {shown}: empty; add rows, or remove it")
    for magic, what in _REFUSED:
        if head.startswith(magic):
            raise UserError(f"data: {shown}: {what}")
    if head.startswith(b"PAR1"):
        return FileFormat("parquet", is_gzip, notes=_notes(path, "parquet", is_gzip))
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), "utf-8")
    if encoding == "utf-8" and head.count(0) * 5 > len(head):
        raise UserError(
            f"data: {shown}: not text (a fifth of its first bytes are NUL); if it is UTF-16 "
            "without a byte-order mark, save it as UTF-8"
        )
    kind = _text_kind(head.decode(encoding, "replace"))
    return FileFormat(kind, is_gzip, encoding, _notes(path, kind, is_gzip, encoding))


def _text_kind(head: str) -> Literal["csv", "json", "json_lines"]:
    start = "".join(head.split())[:2]
    if start.startswith("{"):
        return "json_lines"
    return "json" if start in ("[{", "[]") else "csv"


_SUFFIXES = {
    "csv": (".csv", ".tsv", ".txt", ""),
    "json": (".json", ".jsonl", ".ndjson", ""),
    "json_lines": (".json", ".jsonl", ".ndjson", ""),
    "parquet": (".parquet", ".pq", ""),
}
_NAMES = {"csv": "CSV", "json": "JSON", "json_lines": "JSON Lines", "parquet": "Parquet"}


def _notes(path: Path, kind: str, is_gzip: bool, encoding: str = "utf-8") -> tuple[str, ...]:
    notes = []
    suffix = path.suffix.lower()
    if suffix == ".gz" or is_gzip:
        if is_gzip != (suffix == ".gz"):
            notes.append(f"{'gzip' if is_gzip else 'not gzip, though'} named {suffix}")
        suffix = Path(path.stem).suffix.lower() if suffix == ".gz" else suffix
    if suffix not in _SUFFIXES[kind]:
        notes.append(f"{_NAMES[kind]} named {suffix}")
    if encoding != "utf-8":
        notes.append({"utf-8-sig": "UTF-8 with a byte-order mark", "utf-16": "UTF-16"}[encoding])
    return tuple(notes)


def open_text(path: Path, file_format: FileFormat) -> IO[str]:
    """The file as text, with its own line ends. Bytes that are not UTF-8 become lone surrogates,
    so the row that contains them can be named."""
    raw = gzip.open(path) if file_format.is_gzip else path.open("rb")  # noqa: SIM115, the wrapper closes it
    errors = "strict" if file_format.encoding == "utf-16" else "surrogateescape"
    return io.TextIOWrapper(raw, file_format.encoding, errors, newline="")
