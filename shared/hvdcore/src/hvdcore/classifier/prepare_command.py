"""Preparing data at a terminal: the progress bar, and the table that ``prepare`` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from hvdcore.classifier.prepared import PreparedData, ProgressCallback
from hvdcore.errors import printable, printable_name
from hvdcore.run.splits import SPLITS
from hvdcore.runtime.terminal import console
from hvdcore.tracking.progress import Progress

__all__ = ["prepare_with_progress", "print_prepared"]

_MOST_ROWS = 100
"""Of the table; the counts of more classes are in meta.json."""

D = TypeVar("D", bound=PreparedData[Any])


def prepare_with_progress(prepare: Callable[[ProgressCallback], D], samples: str) -> D:
    """Prepare, with a progress bar on stderr as soon as there is something to count.

    Args:
        samples: what is counted, in the plural.
    """
    bars: list[Progress] = []
    with ExitStack() as stack:

        def progress(done: int, total: int) -> None:
            if total and not bars:
                bar = Progress(total, samples, description="prepare")
                bars.append(stack.enter_context(bar))
            if total:
                bars[0].advance(1)

        return prepare(progress)


def print_prepared(data: PreparedData[Any], lines: Sequence[str]) -> None:
    """Print the samples of each class and split as a table, the lines, and where the data is."""
    from rich.table import Column, Table

    table = Table("class", *(Column(name, justify="right") for name in SPLITS), box=None)
    for name in data.classes[:_MOST_ROWS]:
        table.add_row(
            printable_name(name), *(str(data.meta["classes_of_parts"][s][name]) for s in SPLITS)
        )
    printer = console()
    printer.print(table, markup=False)
    more = len(data.classes) - _MOST_ROWS
    rest = [f"and {more:,} more classes, counted in meta.json of the cache"] if more > 0 else []
    for line in (*rest, *lines, *_examples(data), f"cache: {data.path}"):
        printer.print(printable(line), highlight=False, soft_wrap=True, markup=False)


def _examples(data: PreparedData[Any]) -> list[str]:
    """The first samples for each reason why some were skipped or noted."""
    reasons = {**data.meta["skipped"], **data.meta["notes"]}
    return [
        f"{reason}: {', '.join(map(printable_name, entry['examples']))}"
        for reason, entry in reasons.items()
    ]
