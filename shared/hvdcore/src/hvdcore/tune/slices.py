"""Owns the figure of where the good values are: a panel for each parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvdcore.tune.figures import limit_values, new_figure, save_figure, valued
from hvdcore.tune.objective import Objective
from hvdcore.tune.results import TrialRow
from hvdcore.tune.space import Choice, Real, Space, Whole

__all__ = ["draw_slices"]


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
    if isinstance(dimension, Choice):
        labels = [str(choice) for choice in dimension.choices]
        panel.set_xticks(range(len(labels)), labels)
        panel.set_xlim(-0.5, len(labels) - 0.5)
    else:
        _show_range(panel, dimension)

    def x(rows: Sequence[TrialRow]) -> list[float]:
        values = [row.params[name] for row in rows]
        if isinstance(dimension, Choice):
            return [float(dimension.choices.index(value)) for value in values]
        return values

    panel.scatter(
        x(pruned), [row.value for row in pruned], s=16, facecolors="none", edgecolors="0.6"
    )
    numbers = [row.number for row in done]
    return panel.scatter(x(done), [row.value for row in done], s=20, c=numbers, cmap="viridis_r")


def _show_range(panel: Any, dimension: Real | Whole) -> None:
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
