"""Small sets of news in every form, for the tests."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from news_cls.labels import AG_NEWS

__all__ = ["News", "news", "write_csv", "write_hub_csv", "write_json_lines", "write_official"]

News = tuple[int, str, str]
"""Class (0..3), title, description."""


def news(count: int, first: int = 0) -> list[News]:
    """Pieces of news whose classes take turns; no two are alike, whatever their case."""
    return [
        (number % len(AG_NEWS), f"Title {number}", f"What happened on day {number} was news.")
        for number in range(first, first + count)
    ]


def write_csv(path: Path, rows: Sequence[Sequence[Any]], **form: Any) -> Path:
    """Any rows, quoted as the official files are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        usual = {"quoting": csv.QUOTE_ALL, "lineterminator": "\n"}
        usual = {"quoting": csv.QUOTE_ALL, "lineterminator": "\n"}
        csv.writer(file, **{**usual, **form}).writerows(rows)
    return path


def write_official(path: Path, rows: Sequence[News], header: Sequence[str] = ()) -> Path:
    """Labels 1..4, title, description; with Kaggle's header, if one is given."""
    table = [(label + 1, title, text) for label, title, text in rows]
    return write_csv(path, [header, *table] if header else table)


def write_hub_csv(path: Path, rows: Sequence[News]) -> Path:
    """`text,label` with labels 0..3."""
    return write_csv(path, [("text", "label"), *((f"{t} {d}", label) for label, t, d in rows)])


def write_json_lines(path: Path, rows: Sequence[News]) -> Path:
    """An object a line, with text and label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": f"{t} {d}", "label": label}) for label, t, d in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
