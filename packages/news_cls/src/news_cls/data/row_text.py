"""The text of a row, if it has one that can be used."""

from __future__ import annotations

from typing import Any

from news_cls.data.csv_rows import NUL
from news_cls.data.layouts import Layout
from news_cls.data.row_report import RowReport

__all__ = ["row_text"]

_LONG_TEXT = 100_000
"""Characters from which on a text is noted."""


def row_text(
    values: list[Any], layout: Layout, row: int, shown: str, report: RowReport
) -> str | None:
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
        pieces.append("" if is_missing else str(piece))
    # Spaces at the ends stay: a text that begins with ` quot;` needs its own.
    text = " ".join(piece for piece in pieces if piece.strip())
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
