"""Pages and figures that a run leaves for people: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@dataclass(frozen=True)
class Curve:
    """One line of a figure: ``y`` over ``x``, both of the same length."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Table:
    """A table of text; numbers are formatted by whoever knows their unit."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A part of the page, in the order: text, table, figure, verbatim text."""

    title: str
    text: str = ""
    table: Table | None = None
    figure: Path | None = None
    verbatim: str = ""


def draw_curves(
    path: Path, curves: Sequence[Curve], *, title: str, x_label: str, y_label: str
) -> Path:
    """Draw the curves into a PNG at ``path`` and return it. Call on rank 0 only."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for curve in curves:
        marker = "o" if len(curve.x) < 30 else ""
        axes.plot(curve.x, curve.y, label=curve.label, marker=marker, markersize=3, linewidth=1.5)
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1:
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})  # the same bytes for the same curves
    return path


def write_page(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write the sections as one HTML file; figures are embedded, all text is escaped."""
    environment = Environment(
        loader=PackageLoader("hvdcore"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("report.html").render(
        title=title, sections=sections, embedded=_embedded
    )
    path.write_text(page, encoding="utf-8")


def series(
    rows: Sequence[Mapping[str, Any]], split: str, name: str
) -> tuple[list[float], list[float]]:
    """(steps, values) of one value of one split, from the rows of ``metrics.jsonl``."""
    chosen = [row for row in rows if row["split"] == split and row.get(name) is not None]
    return [row["step"] for row in chosen], [row[name] for row in chosen]


def _embedded(figure: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(figure.read_bytes()).decode("ascii")
