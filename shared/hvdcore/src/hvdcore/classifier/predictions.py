"""Owns the forms in which answers are printed: CSV, JSON, and JSON lines as they come."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["FORMS", "Prediction"]


@dataclass(frozen=True)
class Prediction:
    """One sample: its probabilities in the order of the classes, or why there are none.

    Attributes:
        source: what it is known by: a file's name, the text itself.
    """

    source: str
    probabilities: tuple[float, ...] = ()
    skipped: str = ""


def to_csv(predictions: Iterable[Prediction], classes: Sequence[str], column: str) -> Iterator[str]:
    """A header, and a line for each: source, class, probability, each class, skipped.

    Args:
        column: what the source is called.
    """
    yield _row([column, "class", "probability", *classes, "skipped"])
    for p in predictions:
        if p.skipped:
            yield _row([p.source, "", "", *[""] * len(classes), p.skipped])
            continue
        best = int(np.argmax(p.probabilities))
        numbers = [f"{value:.6f}" for value in (p.probabilities[best], *p.probabilities)]
        yield _row([p.source, classes[best], *numbers, ""])


def _row(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def to_json(
    predictions: Iterable[Prediction], classes: Sequence[str], column: str
) -> Iterator[str]:
    """A list of objects with source, class, probability, probabilities; or source and skipped."""
    rows = [_object(p, classes, column) for p in predictions]
    yield json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def to_json_lines(
    predictions: Iterable[Prediction], classes: Sequence[str], column: str
) -> Iterator[str]:
    """The same objects, one a line."""
    for p in predictions:
        yield json.dumps(_object(p, classes, column), ensure_ascii=False) + "\n"


def _object(p: Prediction, classes: Sequence[str], column: str) -> dict[str, object]:
    if p.skipped:
        return {column: p.source, "skipped": p.skipped}
    best = int(np.argmax(p.probabilities))
    return {
        column: p.source,
        "class": classes[best],
        "probability": p.probabilities[best],
        "probabilities": dict(zip(classes, p.probabilities, strict=True)),
    }


FORMS: dict[str, Callable[[Iterable[Prediction], Sequence[str], str], Iterator[str]]] = {
    "csv": to_csv,
    "json": to_json,
    "jsonl": to_json_lines,
}
"""By the name that `--format` takes."""
