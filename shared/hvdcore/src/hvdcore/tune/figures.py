"""The figures of a study: optimization history, parameter importance, objective by parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hvdcore.files.atomic import write_figure_atomically
from hvdcore.files.figure_text import figure_text
from hvdcore.tune.results import TrialRow
from hvdcore.tune.space import Categorical, Float, Int, Space
from hvdcore.tune.tunable import Objective

__all__ = [
    "draw_history",
    "draw_importance",
    "draw_slices",
    "limit_values",
    "new_figure",
    "save_figure",
    "valued",
]


def draw_history(path: Path, rows: Sequence[TrialRow], objective: Objective) -> Path:
    """Each trial's best value by its number, and the best of all up to there."""
    figure, ((axes,),) = new_figure(1, 1, 7.2, 3.8)
    done = valued(rows, "complete")
    pruned = valued(rows, "pruned")
    axes.plot(*_steps(done, objective), color="C0", linewidth=1.5, label="best so far")
    _dots(axes, done, "C0", "complete")
    _dots(axes, pruned, "none", "pruned")
    failed = [row.number for row in rows if row.state == "failed"]
    if failed:
        low, _ = axes.get_ylim()
        axes.plot(failed, [low] * len(failed), "x", color="C3", markersize=6, label="failed")
    limit_values(axes, done, pruned)
    axes.set(title="Trials", xlabel="trial", ylabel=objective.label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=9)
    return save_figure(figure, path)


def _dots(axes: Any, rows: Sequence[TrialRow], face: str, label: str) -> None:
    if rows:
        x, y = [row.number for row in rows], [row.value for row in rows]
        edge = "C0" if face != "none" else "0.5"
        axes.scatter(x, y, s=22, facecolors=face, edgecolors=edge, label=label, zorder=3)


def _steps(done: Sequence[TrialRow], objective: Objective) -> tuple[list[int], list[float]]:
    """The corners of the line of the best so far."""
    x: list[int] = []
    y: list[float] = []
    for row in done:
        assert row.value is not None
        is_better = not y or objective.is_better(row.value, y[-1])
        x += [row.number, row.number] if y and is_better else [row.number]
        y += [y[-1], row.value] if y and is_better else [row.value if not y else y[-1]]
    return x, y


def limit_values(axes: Any, done: Sequence[TrialRow], pruned: Sequence[TrialRow]) -> None:
    """One trial that diverged must not press all others into a line."""
    values = sorted(row.value for row in [*done, *pruned] if row.value is not None)
    if len(values) < 5:
        return
    low, high = values[0], values[-1]
    first, third = values[len(values) // 4], values[3 * len(values) // 4]
    room = 4 * max(third - first, 1e-12)
    if high > third + room:
        axes.set_ylim(top=third + room)
    if low < first - room:
        axes.set_ylim(bottom=first - room)


def draw_importance(path: Path, importances: Mapping[str, float]) -> Path:
    """Each parameter's share in what made trials good, the largest on top."""
    figure, ((axes,),) = new_figure(1, 1, 7.2, 1.2 + 0.4 * len(importances))
    pairs = sorted(importances.items(), key=lambda pair: pair[1])
    bars = axes.barh([name for name, _ in pairs], [share for _, share in pairs], color="C0")
    axes.bar_label(bars, fmt="{:.2f}", padding=4, fontsize=9)
    axes.set(title="Parameter importance", xlabel="share", xlim=(0, 1.15 * pairs[-1][1]))
    axes.grid(visible=False, axis="y")
    return save_figure(figure, path)


def valued(rows: Sequence[TrialRow], state: str) -> list[TrialRow]:
    """The trials in this state that have a value."""
    return [row for row in rows if row.state == state and row.value is not None]


def new_figure(num_rows: int, num_columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A matplotlib figure of this size in inches, and its axes [num_rows, num_columns]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    for panel in axes.flat:
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Any, path: Path) -> Path:
    """Write a PNG.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    write_figure_atomically(figure, path)
    return path


def draw_slices(path: Path, rows: Sequence[TrialRow], space: Space, objective: Objective) -> Path:
    """The value over each parameter, a panel each; later trials are darker."""
    num_columns = 2 if len(space) in (2, 4) else min(len(space), 3)
    num_rows = math.ceil(len(space) / num_columns)
    figure, axes = new_figure(num_rows, num_columns, 3.0 * num_columns + 0.8, 2.8 * num_rows)
    done, pruned = valued(rows, "complete"), valued(rows, "pruned")
    panels = [panel for line in axes for panel in line]
    drawn = None
    for panel, name in zip(panels, sorted(space), strict=False):
        drawn = _slice(panel, name, space, done, pruned) or drawn
        limit_values(panel, done, pruned)
    for panel in panels[len(space) :]:
        panel.set_axis_off()
    for line in axes:
        line[0].set_ylabel(objective.label)
    if drawn is not None:
        figure.colorbar(drawn, ax=panels, label="trial", shrink=0.9, pad=0.02)
    return save_figure(figure, path)


def _slice(
    panel: Any, name: str, space: Space, done: Sequence[TrialRow], pruned: Sequence[TrialRow]
) -> Any:
    dimension = space[name]
    panel.set_xlabel(name)
    if isinstance(dimension, Categorical):
        labels = [figure_text(str(choice)) for choice in dimension.choices]
        panel.set_xticks(range(len(labels)), labels)
        panel.set_xlim(-0.5, len(labels) - 0.5)
    else:
        _show_range(panel, dimension)

    def x(rows: Sequence[TrialRow]) -> list[float]:
        values = [row.params[name] for row in rows]
        if isinstance(dimension, Categorical):
            return [float(dimension.choices.index(value)) for value in values]
        return values

    panel.scatter(
        x(pruned), [row.value for row in pruned], s=16, facecolors="none", edgecolors="0.6"
    )
    numbers = [row.number for row in done]
    return panel.scatter(x(done), [row.value for row in done], s=20, c=numbers, cmap="viridis_r")


def _show_range(panel: Any, dimension: Float | Int) -> None:
    """The whole range that is searched, and numbers in full: 0.002 and not a power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = dimension.low, dimension.high
    if not dimension.log:
        margin = 0.04 * (high - low)
        panel.set_xlim(low - margin, high + margin)
        return
    panel.set_xscale("log")
    margin = (high / low) ** 0.04
    panel.set_xlim(low / margin, high * margin)
    subs = (1.0,) if high / low > 100 else (1.0, 2.0, 5.0)
    panel.xaxis.set_major_locator(LogLocator(subs=subs))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
