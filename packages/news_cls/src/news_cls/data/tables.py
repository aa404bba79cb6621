"""Rows of a labelled table, whatever file it lies in: CSV, JSON, JSON Lines or Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hvdcore.errors import UserError
from news_cls.data.csv_rows import csv_rows
from news_cls.data.file_forms import FileForm, find_form, open_text, reading
from news_cls.data.json_rows import json_array_rows, json_line_rows
from news_cls.data.layouts import Columns, Layout, layout_of_row
from news_cls.data.parquet_rows import parquet_rows
from news_cls.data.row_report import RowReport
from news_cls.data.row_text import row_text

__all__ = ["TableRow", "read_table"]


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
            text = row_text(values, layout, number, shown, report)
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


def _parquet(path: Path, form: FileForm, shown: str, columns: Columns, report: RowReport) -> Rows:
    if form.is_gzip:
        raise UserError(f"data: {shown}: Parquet packed by gzip; unpack it")
    yield from parquet_rows(path, shown, columns)


_ROWS: dict[str, Callable[[Path, FileForm, str, Columns, RowReport], Rows]] = {
    "csv": _csv, "json": json_array_rows, "json_lines": json_line_rows, "parquet": _parquet,
}  # fmt: skip
