"""Documents in JSON files of any layout, and in tables of text (CSV, TSV).

A `.json` or `.jsonl` file holds one object a line, or an array of objects, or objects over several
lines: which, its content tells.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from textgen.data.documents import Document, Skipped, missing_column, row_document
from textgen.data.packed import open_packed

__all__ = ["MAX_RECORD", "csv_documents", "has_json_lines", "json_record", "value_documents"]

MAX_RECORD = 1 << 28
"""Longest line, cell or JSON value in bytes: each is held in memory several times over."""

_CHUNK = 1 << 18
_SEPARATORS = ",\t;|"


def has_json_lines(path: Path) -> bool:
    """Whether the file holds JSON Lines, rather than an array or values over several lines."""
    with open_packed(path) as file:
        start = file.read(_CHUNK).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        return False
    line, end, _ = start.partition(b"\n")
    if not end:
        return True
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.pos < len(error.doc.rstrip())  # wrong, not continued in the next line
    except (ValueError, RecursionError):
        return True
    return True


def json_record(row: Any, origin: str, column: str, skipped: Skipped) -> Iterator[Document]:
    """The document in a JSON value: an object with text in the column.

    Raises:
        UserError: it is none.
    """
    if not isinstance(row, dict):
        raise UserError(f"data: {origin}: a {type(row).__name__}, not a JSON object")
    if column not in row:
        raise missing_column(origin, column, sorted(row))
    yield from row_document(row[column], origin, column, skipped)


def value_documents(path: Path, column: str, skipped: Skipped) -> Iterator[Document]:
    """The documents of an array of objects, or of objects one after another.

    Raises:
        UserError: it is no JSON, or a value is no object with text in the column.
    """
    with open_packed(path) as file, io.TextIOWrapper(file, "utf-8-sig") as text:
        for number, value in enumerate(_Values(path, text), start=1):
            yield from json_record(value, f"{path} record {number}", column, skipped)


class _Values:
    """The values of a JSON file; one is in memory at a time."""

    def __init__(self, path: Path, file: io.TextIOWrapper) -> None:
        self._path, self._file = path, file
        self._decoder = json.JSONDecoder()
        self._text, self._at, self._lines = "", 0, 0
        self._is_read = False

    def __iter__(self) -> Iterator[Any]:
        is_array = self._next() == "["
        self._at += is_array
        while (character := self._next()) and not (is_array and character == "]"):
            yield self._value()
            if is_array and self._next() == ",":
                self._at += 1
            elif is_array and self._next() != "]":
                raise self._wrong("a comma or the end of the array is missing")
        self._at += is_array
        if is_array and (not character or self._next()):
            raise self._wrong("it ends in the middle" if not character else "more after the array")

    def _next(self) -> str:
        """The next character that is not a blank; empty at the end."""
        while True:
            while self._at < len(self._text):
                character = self._text[self._at]
                if character not in " \t\r\n":
                    return character
                self._at += 1
            if not self._read():
                return ""

    def _value(self) -> Any:
        value, end = self._decoded()
        while end == len(self._text) and self._read():  # "12" may go on, or a value is incomplete
            value, end = self._decoded()
        if isinstance(value, json.JSONDecodeError):
            raise self._wrong(f"not JSON ({value.msg})", value.pos)
        self._at = end
        return value

    def _decoded(self) -> tuple[Any, int]:
        """The value that begins here and its end; the error where the text held so far ends."""
        try:
            return self._decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated") or error.pos > len(self._text) - 16:
                return error, len(self._text)
            raise self._wrong(f"not JSON ({error.msg})", error.pos) from error
        except (ValueError, RecursionError) as error:
            raise self._wrong(f"not JSON ({error})") from error

    def _read(self) -> bool:
        """Read more, as much as is held already; False at the end of the file."""
        held = self._text[self._at :]
        if len(held) > MAX_RECORD:
            raise self._wrong(f"a value longer than {MAX_RECORD:,} characters")
        try:
            more = "" if self._is_read else self._file.read(max(_CHUNK, len(held)))
        except UnicodeDecodeError as error:
            raise UserError(f"data: {self._path}: not UTF-8 text; save it as UTF-8") from error
        self._is_read = not more
        if more:
            self._lines += self._text.count("\n", 0, self._at)
            self._text, self._at = held + more, 0
        return bool(more)

    def _wrong(self, what: str, at: int | None = None) -> UserError:
        line = 1 + self._lines + self._text.count("\n", 0, self._at if at is None else at)
        return UserError(f"data: {self._path} line {line}: {what}; correct the file")


def csv_documents(path: Path, column: str, skipped: Skipped) -> Iterator[Document]:
    """The documents of a CSV or TSV file, whose first row names the columns.

    Raises:
        UserError: there is no such column, or the file is not UTF-8 or no CSV.
    """
    before = csv.field_size_limit(MAX_RECORD)
    try:
        with open_packed(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
            yield from _rows(path, text, column, skipped)
    except UnicodeDecodeError as error:
        raise UserError(f"data: {path}: not UTF-8 text; save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"data: {path}: not a readable CSV file ({error})") from error
    finally:
        csv.field_size_limit(before)


def _rows(path: Path, text: io.TextIOWrapper, column: str, skipped: Skipped) -> Iterator[Document]:
    header = text.readline(_CHUNK)
    splits = {mark: next(csv.reader([header], delimiter=mark), []) for mark in _SEPARATORS}
    mark = max(splits, key=lambda mark: (column in splits[mark], len(splits[mark])))
    names = splits[mark]
    if column not in names:
        raise missing_column(str(path), column, names)
    if names.count(column) > 1:
        raise UserError(
            f"data: {path}: {names.count(column)} columns are called {column!r}; rename the others"
        )
    place = names.index(column)
    reader = csv.reader(text, delimiter=mark)
    for row in reader:
        origin = f"{path} line {reader.line_num + 1}"
        if not row:
            continue
        if place >= len(row):
            skipped.add("row without the column", origin)
        else:
            yield from row_document(row[place], origin, column, skipped)
