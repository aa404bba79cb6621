"""The command ``predict``: predictions as CSV, JSON, or JSON Lines as they are computed."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hvdcore.errors import Problems, printable
from hvdcore.files.atomic import write_bytes_atomically
from hvdcore.files.json_files import json_for_terminal
from hvdcore.run.run_dir import RunDir

__all__ = ["FORMATS", "Prediction", "find_model", "for_spreadsheets", "write_predictions"]


@dataclass(frozen=True)
class Prediction:
    """The prediction for one sample, or the reason why there is none.

    Attributes:
        source: identifies the sample: a file name, or the text itself.
        probabilities: in the order of the classes.
        skipped: why the sample was not classified; empty if it was.
    """

    source: str
    probabilities: tuple[float, ...] = ()
    skipped: str = ""


def to_csv(predictions: Iterable[Prediction], classes: Sequence[str], column: str) -> Iterator[str]:
    """A header and one line per sample: source, class, probability, each class, skipped.

    Args:
        column: the name of the first column.
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
    """A list of objects with source, class, probability and probabilities, or with source and
    skipped."""
    rows = [_object(p, classes, column) for p in predictions]
    yield json_for_terminal(rows, indent=2) + "\n"


def to_json_lines(
    predictions: Iterable[Prediction], classes: Sequence[str], column: str
) -> Iterator[str]:
    """The same objects, one per line."""
    for p in predictions:
        yield json_for_terminal(_object(p, classes, column)) + "\n"


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


FORMATS: dict[str, Callable[[Iterable[Prediction], Sequence[str], str], Iterator[str]]] = {
    "csv": to_csv,
    "json": to_json,
    "jsonl": to_json_lines,
}
"""By the value of `--format`."""


def find_model(run_dir: Path, output_format: str, problems: Problems) -> Path:
    """The model folder of a run; what is wrong with it or the format is added to `problems`."""
    if output_format not in FORMATS:
        problems.add("format", f"got {output_format!r}; give {' or '.join(FORMATS)}")
    with problems.catching():
        RunDir.open(run_dir)
    return RunDir(run_dir).model


def for_spreadsheets(
    predictions: Iterable[Prediction], classes: Sequence[str]
) -> tuple[Iterator[Prediction], list[str]]:
    """The same, with an apostrophe before what a spreadsheet would compute as a formula."""
    safe = (replace(p, source=_no_formula(p.source)) for p in predictions)
    return safe, [_no_formula(name) for name in classes]


def _no_formula(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def write_predictions(lines: Iterable[str], output: Path | None) -> None:
    """Write to a file, or print each line as soon as it is computed.

    A terminal gets no control characters.
    """
    if output is not None:
        write_bytes_atomically(output, "".join(lines).encode("utf-8", "replace"))
        return
    for line in lines:
        sys.stdout.write(printable(line) if sys.stdout.isatty() else line)
        sys.stdout.flush()
