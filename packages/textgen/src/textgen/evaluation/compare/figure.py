"""The figure of a comparison: how well a model predicts, against its size and its training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvdcore.files.atomic import writing

__all__ = ["draw_comparison"]

_COSTS = (
    ("num_parameters", "parameters"),
    ("training_seconds", "seconds of training"),
)

_WIDE = 10
"""Costs that differ by more are drawn on a logarithmic axis."""


def draw_comparison(path: Path, models: Mapping[str, Mapping[str, Any]]) -> Path:
    """Bits per byte over parameters, and over seconds of training for those that tell them.

    A model has the same colour in both.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

    shown = [cost for cost in _COSTS if any(model[cost[0]] for model in models.values())]
    figure = Figure(figsize=(4.2 * len(shown) + 1.6, 3.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (name, title) in zip(panels, shown, strict=True):
        for number, (label, model) in enumerate(models.items()):
            if model[name]:
                axes.plot(
                    model[name], model["bits_per_byte"], "o", color=f"C{number % 10}", label=label
                )
        known = [model[name] for model in models.values() if model[name]]
        if max(known) > _WIDE * min(known):
            axes.set(xlabel=f"{title} (logarithmic)", xscale="log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set(xlabel=title)
            axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.margins(x=0.2, y=0.15)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set(ylabel="bits per byte")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    return path
