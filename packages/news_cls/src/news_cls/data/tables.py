"""The rows of a labeled table in a CSV, JSON, JSON Lines or Parquet file.

Every row that cannot be used is reported with its number; an unclosed quote of a CSV file is an
error that names its row instead of swallowing the rows after it.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, NamedTuple

from hvdcore.errors import UserError
from news_cls.data.file_formats import FileFormat, detect_format, open_text, reading
from news_cls.data.layouts import Columns, Layout, layout_of_names, layout_of_row
from news_cls.data.row_report import NOT_UTF8, RowReport

__all__ = [
    "NUL",
    "TableRow",
    "bounded_lines",
    "csv_rows",
    "find_delimiter",
    "json_array_rows",
    "json_line_rows",
    "parquet_classes",
    "parquet_rows",
    "read_table",
    "row_text",
]

NUL = "\ufffe"
"""Replaces a NUL byte, which the csv module of Python 3.10 refuses."""
_QUOTED = re.compile('"[^"]*"?')
_LONGEST_FIELD = 1 << 24
"""Characters; a longer field is an unclosed quote."""
_LONGEST_ARRAY = 1 << 28
"""Characters of a JSON array, which is read whole."""
_LONG_TEXT = 100_000
"""Characters above which a text is noted."""
PARQUET_BATCH_SIZE = 4096

Rows = Iterator[tuple[int, Layout, list[Any]]]
"""Row numbers, the layout, and the values of all columns."""


class TableRow(NamedTuple):
    """A row with a usable text.

    Attributes:
        row: its number from 1; in a CSV file the header counts, in JSON Lines it is the line.
        label: as it is in the file.
        first_label: see `Layout.first_label`.
    """

    row: int
    label: object
    first_label: int | None
    text: str


def read_table(path: Path, shown: str, columns: Columns, report: RowReport) -> Iterator[TableRow]:
    """All rows of a file. Rows without a usable text are added to `report`, with the reason.

    Raises:
        UserError: the file cannot be read, or does not have the columns.
    """
    file_format = detect_format(path, shown)
    if file_format.encoding == "utf-8" and file_format.kind != "parquet":
        file_format = replace(file_format, encoding=columns.encoding)
    for note in file_format.notes:
        report.notes.add(note, shown)
    rows = _ROWS[file_format.kind]
    with reading(path, shown):
        for number, layout, values in rows(path, file_format, shown, columns, report):
            text = row_text(values, layout, number, shown, report)
            label = values[layout.label]
            if problem := _label_problem(label):
                name = layout.names[layout.label]
                report.wrong(shown, number, f"the label ({name!r}) {problem}")
            elif text is not None:
                yield TableRow(number, label, layout.first_label, text)
            elif isinstance(label, (str, int, float)):
                report.lost_labels.add(label)


def _label_problem(label: object) -> str | None:
    """Why a value cannot name a class; None if it can, or if it is missing."""
    if isinstance(label, (dict, list, tuple, bytes)):
        return f"is a {type(label).__name__}; give a --label-column of texts or numbers"
    if not isinstance(label, str):
        return None
    if NUL in label or "\0" in label:
        return "contains NUL bytes; remove them"
    if not _is_unicode(label):
        return "is not UTF-8; give --encoding, such as cp1252, or convert the file"
    return None


def _csv(
    path: Path, file_format: FileFormat, shown: str, columns: Columns, report: RowReport
) -> Rows:
    layout = None
    with open_text(path, file_format) as file:
        for number, fields in csv_rows(bounded_lines(file, shown), shown):
            if layout is None:
                layout = layout_of_row(fields, columns, shown)
                _note_guess(layout, columns, shown, report)
                if layout.has_header:
                    continue
            if len(fields) != len(layout.names):
                wanted = "the header" if layout.has_header else "row 1"
                report.wrong(
                    shown, number,
                    f"{len(fields)} columns where {wanted} has {len(layout.names)}; quote a text "
                    "that contains the delimiter, or fix the row",
                )  # fmt: skip
                continue
            yield number, layout, list(fields)
    if layout is not None and layout.has_header and number == 1:
        raise UserError(f"data: {shown}: a header and no rows; add rows")


def _note_guess(layout: Layout, columns: Columns, shown: str, report: RowReport) -> None:
    """Say how a file without a header was read, where nobody said how."""
    if layout.has_header or columns.are_named:
        return
    texts = ", ".join(layout.names[column] for column in layout.text)
    report.notes.add(
        f"file without a header: label from column {layout.names[layout.label]}, text from "
        f"{texts} (others: --label-column, --text-column)", shown,
    )  # fmt: skip


def _parquet(
    path: Path, file_format: FileFormat, shown: str, columns: Columns, report: RowReport
) -> Rows:
    if file_format.is_gzip:
        raise UserError(f"data: {shown}: Parquet compressed with gzip; decompress it")
    yield from parquet_rows(path, shown, columns)


def find_delimiter(first_line: str) -> str:
    """Comma, tab or semicolon: whichever comes first in the first line, outside of quotes.

    The first field is a label or the name of a column, which contains none of them.
    """
    found = re.search("[,\t;]", _QUOTED.sub("", first_line))
    return found.group() if found else ","


def bounded_lines(file: IO[str], shown: str) -> Iterator[str]:
    """The lines of a file; a few megabytes of gzip may hold one that does not fit into memory.

    Raises:
        UserError: a line is longer than any field may be.
    """
    number = 0
    while line := file.readline(_LONGEST_FIELD + 1):
        number += 1
        if len(line) > _LONGEST_FIELD:
            raise UserError(
                f"data: {shown}: line {number} is longer than {_LONGEST_FIELD:,} characters; is it "
                "a table? Give one row per line"
            )
        yield line


def csv_rows(lines: Iterable[str], shown: str) -> Iterator[tuple[int, list[str]]]:
    """Row numbers, from 1 as in a spreadsheet, and fields. Blank rows are counted, not yielded.

    Args:
        lines: with their line ends.
        shown: the file's name for display.

    Raises:
        UserError: a quote is not closed; names the row and the line where it opens.
    """
    lines = iter(lines)
    first = next(lines, "")
    reader = csv.reader(_without_nul(first, lines), delimiter=find_delimiter(first), strict=True)
    row = line = 0
    with _long_fields():
        while True:
            row, line = row + 1, reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise UserError(
                    f"data: {shown}: row {row} (line {line}): a quote that opens in it is "
                    'not closed, or one inside a text is not doubled; close it, or write "" for "'
                ) from error
            if fields:
                yield row, fields


def _without_nul(first: str, lines: Iterable[str]) -> Iterator[str]:
    yield first.replace("\0", NUL)
    for line in lines:
        yield line.replace("\0", NUL)


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def json_line_rows(
    path: Path, file_format: FileFormat, shown: str, columns: Columns, report: RowReport
) -> Rows:
    """One object per line; the row numbers are line numbers."""
    if _spans_lines(path, file_format):
        yield from json_array_rows(path, file_format, shown, columns, report)
        return
    layout = None
    with open_text(path, file_format) as file:
        for number, line in enumerate(bounded_lines(file, shown), start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                report.wrong(shown, number, "not JSON; give one object per line")
                continue
            layout = layout or _json_layout(value, columns, shown)
            yield from _object(value, number, layout, shown, report)


def json_array_rows(
    path: Path, file_format: FileFormat, shown: str, columns: Columns, report: RowReport
) -> Rows:
    """One array of objects, or objects over several lines one after another."""
    layout = None
    with open_text(path, file_format) as file:
        try:
            content = file.read(_LONGEST_ARRAY + 1)
            values = _json_values(content) if len(content) <= _LONGEST_ARRAY else None
        except (ValueError, RecursionError) as error:
            raise UserError(f"data: {shown}: not JSON ({error}); fix it") from error
    if values is None:
        raise UserError(
            f"data: {shown}: a JSON array of more than {_LONGEST_ARRAY:,} characters; save it as "
            "JSON Lines, one object per line"
        )
    for number, value in enumerate(values, start=1):
        layout = layout or _json_layout(value, columns, shown)
        yield from _object(value, number, layout, shown, report)


def _spans_lines(path: Path, file_format: FileFormat) -> bool:
    """Whether the first object goes on in the next line, as `indent` writes it."""
    with open_text(path, file_format) as file:
        line = file.readline(_LONGEST_FIELD)
        while line and not line.strip():
            line = file.readline(_LONGEST_FIELD)
        if not line.endswith(("\n", "\r")):
            return False
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.pos >= len(error.doc.rstrip())
    except (ValueError, RecursionError):
        return False
    return False


def _json_values(content: str) -> list[Any]:
    """The elements of an array, or values one after another."""
    content = content.strip()
    if content.startswith("["):
        values: list[Any] = json.loads(content)
        return values
    found, at, decoder = [], 0, json.JSONDecoder()
    while at < len(content):
        value, at = decoder.raw_decode(content, at)
        found.append(value)
        while at < len(content) and content[at] in " \t\r\n,":
            at += 1
    return found


def _json_layout(value: object, columns: Columns, shown: str) -> Layout:
    if not isinstance(value, dict):
        raise UserError(f"data: {shown}: its first value is not a JSON object; give one per row")
    return layout_of_names(list(value), columns, shown)


def _object(value: object, number: int, layout: Layout, shown: str, report: RowReport) -> Rows:
    wanted = [layout.names[column] for column in (*layout.text, layout.label)]
    if not isinstance(value, dict):
        report.wrong(shown, number, "not a JSON object; give one per row")
    elif missing := [name for name in wanted if name not in value]:
        report.wrong(shown, number, f"no {missing[0]!r}; give it, or remove the row")
    else:
        yield number, layout, [value.get(name) for name in layout.names]


def parquet_rows(
    path: Path, shown: str, columns: Columns
) -> Iterator[tuple[int, Layout, list[Any]]]:
    """Row numbers from 1, the layout, and the values of all columns; None in columns not read.

    Raises:
        UserError: it is damaged, or does not have the columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            layout = layout_of_names(names, columns, shown)
            wanted = sorted({*layout.text, layout.label})
            number = 0
            for batch in file.iter_batches(PARQUET_BATCH_SIZE, columns=[names[c] for c in wanted]):
                read = [batch.column(names[c]).to_pylist() for c in wanted]
                for row in zip(*read, strict=True):
                    number += 1
                    values: list[Any] = [None] * len(names)
                    for column, value in zip(wanted, row, strict=True):
                        values[column] = value
                    yield number, layout, values
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"data: {shown}: damaged Parquet ({reason}); download it again") from error


def parquet_classes(path: Path, label: str) -> tuple[str, ...] | None:
    """Names of the classes in order of their numbers, if the `datasets` library wrote them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None


def row_text(
    values: list[Any], layout: Layout, row: int, shown: str, report: RowReport
) -> str | None:
    """The text of a row, its columns joined by a space; None if it cannot be used."""
    parts = []
    for column in layout.text:
        value = values[column]
        if isinstance(value, (dict, list, bytes)):
            what = type(value).__name__
            report.wrong(
                shown, row, f"{layout.names[column]!r} is a {what}; give another --text-column"
            )
            return None
        is_missing = value is None or value != value  # NaN, as pandas writes it
        parts.append("" if is_missing else str(value))
    # Spaces at the ends are kept: a text that begins with ` quot;` needs its own.
    text = " ".join(part for part in parts if part.strip())
    reason = _unusable(text)
    if reason:
        report.skipped.add(reason, f"{shown} row {row}")
        if reason == NOT_UTF8:
            report.keep_bytes(text)
        return None
    if len(text) > _LONG_TEXT:
        report.notes.add(f"text longer than {_LONG_TEXT:,} characters", f"{shown} row {row}")
    return text


def _unusable(text: str) -> str | None:
    if not text:
        return "empty text"
    if NUL in text or "\0" in text:
        return "NUL bytes"
    return None if _is_unicode(text) else NOT_UTF8


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_ROWS: dict[str, Callable[[Path, FileFormat, str, Columns, RowReport], Rows]] = {
    "csv": _csv, "json": json_array_rows, "json_lines": json_line_rows, "parquet": _parquet,
}  # fmt: skip
