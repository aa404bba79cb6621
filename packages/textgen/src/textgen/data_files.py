"""Owns reading documents from disk: folders, text files, JSON Lines and Parquet, gzip too."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hvdcore.errors import UserError
from textgen.documents import (
    Document,
    Skipped,
    missing_column,
    normalise,
    row_document,
    text_document,
)

__all__ = ["FileSource", "find_files"]

TEXT_SUFFIXES = (".txt", ".text", ".md")
ROW_SUFFIXES = (".jsonl", ".ndjson", ".parquet")
_PARQUET_ROWS = 256  # rows decoded at once: bounds the memory


@dataclass(frozen=True)
class FileSource:
    """The files that one `--data PATH` names.

    Attributes:
        root: the path given.
        files: what was found, sorted by path.
    """

    root: Path
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        return str(self.root)

    def signature(self) -> str:
        """Names, sizes and times of the files: the same while nobody touched them."""
        lines = [str(self.root.resolve())]
        for path in self.files:
            status = path.stat()
            lines.append(f"{path}\t{status.st_size}\t{status.st_mtime_ns}")
        return "\n".join(lines)

    def total_bytes(self) -> int:
        """Size on disk, for progress."""
        return sum(path.stat().st_size for path in self.files)

    def documents(self, text_column: str, skipped: Skipped) -> Iterator[Document]:
        """Every document of every file; those that are not text are counted in `skipped`.

        Raises:
            UserError: a file cannot be read, a row is broken, or the column is missing.
        """
        for path in self.files:
            kind = _kind(path)
            try:
                if kind == "parquet":
                    yield from _parquet_documents(path, text_column, skipped)
                elif kind == "jsonl":
                    yield from _json_documents(path, text_column, skipped)
                else:
                    yield from _text_document(path, skipped)
            except PermissionError as error:
                raise UserError(f"data: {path}: no permission to read it") from error
            except gzip.BadGzipFile as error:
                raise UserError(f"data: {path}: not a gzip file; rename or repack it") from error
            except EOFError as error:
                raise UserError(f"data: {path}: cut off; fetch it again") from error


def find_files(root: Path) -> FileSource:
    """The data files under a path that exists: the path itself, or a folder's, recursively.

    Hidden files and folders are left out.

    Raises:
        UserError: an unreadable folder, or one without data files.
    """
    if not root.is_dir():
        if not root.is_file():
            raise UserError(f"data: {root} is neither a file nor a folder; give one of these")
        return FileSource(root, (root,))
    found: list[Path] = []
    others: Counter[str] = Counter()
    for folder, names, files in os.walk(root, onerror=_unreadable):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for file in sorted(files):
            path = Path(folder, file)
            if file.startswith(".") or not path.is_file():
                continue
            if _kind(path):
                found.append(path)
            else:
                others[path.suffix or file] += 1
    if not found:
        raise UserError(f"data: {root} holds no {_wanted()} file{_what_else(others)}")
    return FileSource(root, tuple(sorted(found)))


def _unreadable(error: OSError) -> None:
    raise UserError(f"data: {error.filename}: folder cannot be read ({error.strerror})") from error


def _wanted() -> str:
    return ", ".join((*TEXT_SUFFIXES, *ROW_SUFFIXES)) + " (or .gz of these)"


def _what_else(others: Counter[str]) -> str:
    if not others:
        return "; it is empty"
    listed = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(3))
    return f"; it holds {listed}"


def _kind(path: Path) -> str:
    suffix = Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix
    suffix = suffix.lower()
    if suffix in TEXT_SUFFIXES:
        return "text"
    if suffix in ROW_SUFFIXES:
        return "parquet" if suffix == ".parquet" else "jsonl"
    return ""


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _text_document(path: Path, skipped: Skipped) -> Iterator[Document]:
    with _open(path) as file:
        raw = file.read()
    yield from text_document(raw, str(path), skipped)


def _json_documents(path: Path, column: str, skipped: Skipped) -> Iterator[Document]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            line = normalise(line) if number == 1 else line
            if not line.strip():
                continue
            origin = f"{path} line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"data: {origin}: not JSON ({error}); mend the line") from error
            if not isinstance(row, dict):
                raise UserError(f"data: {origin}: a {type(row).__name__}, not a JSON object")
            if column not in row:
                raise missing_column(origin, column, sorted(row))
            yield from row_document(row[column], origin, column, skipped)


def _parquet_documents(path: Path, column: str, skipped: Skipped) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise missing_column(str(path), column, names)
            row = 0
            for batch in file.iter_batches(_PARQUET_ROWS, columns=[column]):
                for value in batch.column(0).to_pylist():
                    row += 1
                    yield from row_document(value, f"{path} row {row}", column, skipped)
    except pa.ArrowException as error:
        raise UserError(f"data: {path}: not a readable Parquet file ({error})") from error
