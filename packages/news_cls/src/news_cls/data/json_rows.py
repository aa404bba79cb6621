"""Rows of JSON: one object a line, or one array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from news_cls.data.file_forms import FileForm, open_text
from news_cls.data.layouts import Columns, Layout, layout_of_names
from news_cls.data.row_report import RowReport

__all__ = ["json_array_rows", "json_line_rows"]

Rows = Iterator[tuple[int, Layout, list[Any]]]


def json_line_rows(
    path: Path, form: FileForm, shown: str, columns: Columns, report: RowReport
) -> Rows:
    """An object a line; the row numbers are those of the lines."""
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


def json_array_rows(
    path: Path, form: FileForm, shown: str, columns: Columns, report: RowReport
) -> Rows:
    """One array of objects."""
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
