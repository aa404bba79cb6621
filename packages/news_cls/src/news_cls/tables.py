"""Rows of a labelled table, whatever file it lies in: CSV, JSON, JSON Lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hvdcore.errors import UserError
from news_cls.csv_rows import NUL, csv_rows
from news_cls.file_forms import FileForm, find_form, open_text, reading
from news_cls.layouts import Columns, Layout, layout_of_names, layout_of_row
from news_cls.parquet_rows import parquet_rows
from news_cls.row_report import RowReport

__all__ = ["TableRow", "read_table"]

_LONG_TEXT = 100_000
"""Characters from which on a text is noted."""


class TableRow(NamedTuple):
    """A row with a text in it.

    Attributes:
        row: its number, from 1, in a CSV file with its header, in JSON Lines the line.
        label: as it stands in the file.
        first_label: see `Layout.first_label`.
    """

    row: int
    label: object
    first_label: int | None
    text: str


def read_table(path: Path, shown: str, columns: Columns, report: RowReport) -> Iterator[TableRow]:
    """All rows of a file. Rows without a usable text are counted in `report`, with the reason.

    Raises:
        UserError: the file cannot be read, or has not the columns.
    """
    form = find_form(path, shown)
    for note in form.notes:
        report.notes.add(note, shown)
    rows = _ROWS[form.kind]
    with reading(path, shown):
        for number, layout, values in rows(path, form, shown, columns, report):
            text = _text(values, layout, number, shown, report)
            if text is not None:
                yield TableRow(number, values[layout.label], layout.first_label, text)


Rows = Iterator[tuple[int, Layout, list[Any]]]


def _csv(path: Path, form: FileForm, shown: str, columns: Columns, report: RowReport) -> Rows:
    layout = None
    with open_text(path, form) as lines:
        for number, fields in csv_rows(lines, shown):
            if layout is None:
                layout = layout_of_row(fields, columns, shown)
                if layout.has_header:
                    continue
            if len(fields) != len(layout.names):
                wanted = "the header" if layout.has_header else "row 1"
                report.wrong(
                    shown, number,
                    f"{len(fields)} columns where {wanted} has {len(layout.names)}; quote a text "
                    "that holds the delimiter, or mend the row",
                )  # fmt: skip
                continue
            yield number, layout, list(fields)
    if layout is not None and layout.has_header and number == 1:
        raise UserError(f"data: {shown}: a header and no rows; put rows under it")


def _json_lines(
    path: Path, form: FileForm, shown: str, columns: Columns, report: RowReport
) -> Rows:
    layout = None
    with open_text(path, form) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                report.wrong(shown, number, "not JSON; give one object a line")
                continue
            layout = layout or _json_layout(value, columns, shown)
            yield from _object(value, number, layout, shown, report)


def _json(path: Path, form: FileForm, shown: str, columns: Columns, report: RowReport) -> Rows:
    layout = None
    with open_text(path, form) as file:
        try:
            values = json.load(file)
        except (ValueError, RecursionError) as error:
            raise UserError(f"data: {shown}: not JSON ({error}); mend it") from error
    for number, value in enumerate(values, start=1):
        layout = layout or _json_layout(value, columns, shown)
        yield from _object(value, number, layout, shown, report)


def _json_layout(value: object, columns: Columns, shown: str) -> Layout:
    if not isinstance(value, dict):
        raise UserError(f"data: {shown}: its first value is no JSON object; give one a row")
    return layout_of_names(list(value), columns, shown)


def _object(value: object, number: int, layout: Layout, shown: str, report: RowReport) -> Rows:
    wanted = [layout.names[place] for place in (*layout.text, layout.label)]
    if not isinstance(value, dict):
        report.wrong(shown, number, "no JSON object; give one a row")
    elif missing := [name for name in wanted if name not in value]:
        report.wrong(shown, number, f"no {missing[0]!r}; give it, or take the row out")
    else:
        yield number, layout, [value.get(name) for name in layout.names]


def _parquet(path: Path, form: FileForm, shown: str, columns: Columns, report: RowReport) -> Rows:
    if form.is_gzip:
        raise UserError(f"data: {shown}: Parquet packed by gzip; unpack it")
    yield from parquet_rows(path, shown, columns)


_ROWS: dict[str, Callable[[Path, FileForm, str, Columns, RowReport], Rows]] = {
    "csv": _csv, "json": _json, "json_lines": _json_lines, "parquet": _parquet,
}  # fmt: skip


def _text(values: list[Any], layout: Layout, row: int, shown: str, report: RowReport) -> str | None:
    """The text of a row, its columns joined by a space; None when it is not to be used."""
    pieces = []
    for place in layout.text:
        piece = values[place]
        if isinstance(piece, (dict, list, bytes)):
            what = type(piece).__name__
            report.wrong(
                shown, row, f"{layout.names[place]!r} holds a {what}; give another --text-column"
            )
            return None
        is_missing = piece is None or piece != piece  # NaN, pandas' word for it
        pieces.append("" if is_missing else str(piece).strip())
    text = " ".join(piece for piece in pieces if piece)
    reason = _unusable(text)
    if reason:
        report.skipped.add(reason, f"{shown} row {row}")
        return None
    if len(text) > _LONG_TEXT:
        report.notes.add(f"text longer than {_LONG_TEXT:,} characters", f"{shown} row {row}")
    return text


def _unusable(text: str) -> str | None:
    if not text:
        return "empty text"
    if NUL in text or "\0" in text:
        return "NUL bytes"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "not UTF-8"
    return None
