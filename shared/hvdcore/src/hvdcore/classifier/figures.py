"""The figures that every classifier has: confusion matrix and reliability diagram.

Also the most confident mistakes, which each package shows in its own way.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.config import SampleNames
from hvdcore.files.atomic import write_figure_atomically
from hvdcore.files.figure_text import figure_text
from hvdcore.metrics.classification import NUM_BINS, confusion_matrix, reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Mistake",
    "blank_figure",
    "draw_confusion",
    "draw_reliability",
    "draw_results",
    "most_confident_mistakes",
    "save_figure",
]


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction: the sample's index, both classes, and the predicted probability."""

    index: int
    label: int
    predicted: int
    probability: float


def most_confident_mistakes(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], count: int
) -> list[Mistake]:
    """The wrong predictions of highest probability, most confident first.

    Args:
        probabilities: [n, C].
        labels: true classes [n].
    """
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    chosen = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return [
        Mistake(int(i), int(labels[i]), int(predicted[i]), float(confidence[i])) for i in chosen
    ]


_MOST_NAMED = 40
"""With a row for each, the figure of 1,000 classes would be wider than Matplotlib can draw."""


def draw_confusion(
    path: Path, matrix: npt.NDArray[np.int64], classes: Sequence[str], title: str
) -> Path:
    """Draw the confusion matrix: counts as numbers, fractions of the true class as color. Of more
    than `_MOST_NAMED` classes the colors alone."""
    is_named = len(classes) <= _MOST_NAMED
    size = 2.6 + 0.75 * min(len(classes), _MOST_NAMED)
    figure = blank_figure(size + 1.2, size)
    figure.set_layout_engine("compressed")  # keeps the squares square, with the names beside them
    axes = figure.add_subplot()
    fractions = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(fractions, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(matrix if is_named else matrix[:0]):
        color = "white" if fractions[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color)
    if is_named:
        names, places = [figure_text(name) for name in classes], range(len(classes))
        axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(places, names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("fraction of the true class")
    return save_figure(figure, path)


def draw_reliability(
    path: Path,
    probabilities: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    title: str,
) -> Path:
    """Draw accuracy over confidence, and the number of samples of each bar."""
    found = reliability(probabilities, labels)
    figure = blank_figure(5.2, 5.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    width = 1.0 / NUM_BINS
    middles = (np.arange(NUM_BINS) + 0.5) * width
    above.plot([0, 1], [0, 1], "--", color="gray", linewidth=1, label="perfect calibration")
    above.bar(middles, found.accuracy, width=width * 0.92, color="C0", label="this model")
    above.set(ylabel="accuracy", ylim=(0, 1), xlim=(0, 1))
    above.set_title(f"{title}; expected calibration error {found.error:.3f}")
    above.legend(frameon=False, loc="upper left")
    below.bar(middles, found.count, width=width * 0.92, color="C7")
    below.set(xlabel="confidence", ylabel="samples")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, path)


def blank_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write the PNG at `path` and return it."""
    with warnings.catch_warnings():
        # Class names may be in any script; a glyph that the font lacks is no reason to fail.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        write_figure_atomically(figure, path)
    return path


def draw_results(
    figures: Path,
    split: str,
    probabilities: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    names: SampleNames,
) -> None:
    """Draw the confusion matrix and the reliability diagram of a split.

    Args:
        figures: the folder to write to.
        probabilities: of each sample [n, C].
        labels: true classes [n].
    """
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), len(classes))
    title = f"{split}: {len(labels):,} {names.samples}"
    draw_confusion(figures / "confusion.png", matrix, classes, title)
    draw_reliability(figures / "reliability.png", probabilities, labels, title)
