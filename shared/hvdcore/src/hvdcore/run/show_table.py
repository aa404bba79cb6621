"""Owns tables on the terminal: the same rows as on a page, names to the left, numbers right."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from hvdcore.run.report import Table

__all__ = ["print_table"]


def print_table(table: Table, *, title: str = "", stream: TextIO | None = None) -> None:
    """Print the table; in a pipe as wide as it is, at a terminal folded to its width.

    Args:
        title: a line above it.
        stream: where to; default stdout.
    """
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(file=stream)
    shown = RichTable(box=None, pad_edge=False, padding=(0, 1))
    for number, name in enumerate(table.header):
        shown.add_column(Text(name), justify="right" if number else "left")
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row))
    if title:
        console.print(Text(title, style="bold"))
    if not console.is_terminal:
        wide = console.options.update(width=100_000)
        console.width = max(console.width, console.measure(shown, options=wide).maximum)
    console.print(shown)
