"""Any name is the text of a figure, and no formula."""

from __future__ import annotations

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hvdcore.files.figure_text import figure_text


def shown(label: str) -> list[str]:
    """The legend of a curve of this name, drawn."""
    figure = Figure()
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], label=label)
    axes.set_title(label)
    canvas.draw()
    return [str(label) for label in axes.get_legend_handles_labels()[1]]


def test_names_that_are_no_formulas() -> None:
    name = r"$\bad{$"
    with pytest.raises(ValueError, match="bad"):
        shown(name)  # control
    assert shown(figure_text(name)) == [r"\$\bad{\$"]
    assert not mpl.cbook.is_math_text(figure_text(name))
    assert figure_text("plain name") == "plain name"


def test_names_that_a_legend_leaves_out() -> None:
    assert shown("_run") == []  # control
    assert shown(figure_text("_run")) == [" _run"]
