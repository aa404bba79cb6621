"""Pages and figures that a run leaves for people: one HTML file that needs nothing beside it.

Tables at the terminal too: the same rows as on a page, names to the left, numbers right.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from jinja2 import Environment, PackageLoader, StrictUndefined

from hvdcore.files.atomic import write_bytes_atomically, write_figure_atomically
from hvdcore.files.figure_text import figure_text
from hvdcore.runtime.terminal import console

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table as RichTable

__all__ = [
    "print_table",
]


@dataclass(frozen=True)
class Curve:
    """One line of a figure: ``y`` over ``x``, both of the same length.

    ``color`` numbers the colors, so that the curves of one run can share theirs; None takes the
    next. A ``dashed`` curve is the lesser of two.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    color: int | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Table:
    """A table of text; numbers are formatted by whoever knows their unit."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class SideBySide:
    """Texts in columns, to be read beside each other.

    ``passages`` are (lead, texts): what stands above the texts, and one text for each of
    ``header``. Line breaks in them are kept.
    """

    header: Sequence[str]
    passages: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Section:
    """A part of the page, in the order: table, text, figures, verbatim text, texts side by side.

    ``figure`` and the first of ``figures`` take the page's width, the others stand two in a row.
    ``folded`` shows the title alone until it is clicked.
    """

    title: str
    text: str = ""
    table: Table | None = None
    figure: Path | None = None
    verbatim: str = ""
    figures: Sequence[Path] = ()
    folded: bool = False
    texts: SideBySide | None = None

    @property
    def all_figures(self) -> list[Path]:
        return [*([self.figure] if self.figure else []), *self.figures]


def draw_curves(
    path: Path,
    curves: Sequence[Curve],
    *,
    title: str,
    x_label: str,
    y_label: str,
    from_zero: bool = False,
) -> Path:
    """Draw the curves into a PNG at ``path`` and return it. Call on rank 0 only.

    Args:
        from_zero: let the vertical axis begin at 0, for what is compared by its size.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        marker = "o" if len(curve.x) < 30 else ""
        color = f"C{(number if curve.color is None else curve.color) % 10}"
        style = "--" if curve.dashed else "-"
        axes.plot(
            curve.x, curve.y, style, color=color, label=figure_text(curve.label), marker=marker,
            markersize=3, linewidth=1.5,
        )  # fmt: skip
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    if from_zero:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1:
        axes.legend(frameon=False)
    write_figure_atomically(figure, path)
    return path


def write_page(path: Path, title: str, sections: Sequence[Section], *, subtitle: str = "") -> None:
    """Write the sections as one HTML file; figures are embedded, all text is escaped.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("hvdcore"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(
        title=title, subtitle=subtitle, sections=sections, embedded=_embedded
    )
    write_bytes_atomically(path, page.encode("utf-8", "replace"))


def series(
    rows: Sequence[Mapping[str, Any]], split: str, name: str
) -> tuple[list[float], list[float]]:
    """(steps, values) of one value of one split, from the rows of ``metrics.jsonl``."""
    chosen = [row for row in rows if row["split"] == split and row.get(name) is not None]
    return [row["step"] for row in chosen], [row[name] for row in chosen]


def run_labels(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart: ``b/run`` beside ``c/run``."""
    whole = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, whole), default=0) + 1):
        labels = ["/".join(parts[-length:]).replace("//", "/") for parts in whole]
        if len(set(labels)) == len(set(whole)):
            return labels
    return [str(path) for path in paths]


def _embedded(figure: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(figure.read_bytes()).decode("ascii")


def print_table(table: Table, *, title: str = "", stream: TextIO | None = None) -> None:
    """Print the table: in a pipe as wide as it is; at a terminal that is too narrow for it turned
    round, a line for each column, and where that is too wide too, folded.

    Args:
        title: a line above it.
        stream: where to; default stdout.
    """
    from rich.text import Text

    printer = console(stream)
    if title:
        printer.print(Text(title, style="bold"))
    forms = [_rich_table(table), _rich_table(_turned(table))]
    widths = [printer.measure(form, options=_wide(printer)).maximum for form in forms]
    printer.print(forms[1] if widths[0] > printer.width >= widths[1] else forms[0])


def _wide(printer: Console) -> ConsoleOptions:
    return printer.options.update(width=100_000)


def _turned(table: Table) -> Table:
    """Rows and columns exchanged."""
    first, *columns = zip(table.header, *table.rows, strict=True)
    return Table(first, columns)


def _rich_table(table: Table) -> RichTable:
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, pad_edge=False, padding=(0, 1))
    for number, name in enumerate(table.header):
        shown.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row))
    return shown
