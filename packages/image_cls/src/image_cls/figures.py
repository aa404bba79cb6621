"""The figures of a run, as Matplotlib draws them: matrix, mistakes, augmentations."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Mistake", "draw_confusion", "draw_mistakes", "draw_rows", "most_confident_mistakes"]


@dataclass(frozen=True)
class Mistake:
    """A wrong answer: the picture's index, both classes, and how sure the model was."""

    index: int
    label: int
    predicted: int
    probability: float


def most_confident_mistakes(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], count: int
) -> list[Mistake]:
    """The wrong answers of highest probability, most confident first.

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


def draw_confusion(
    path: Path, matrix: npt.NDArray[np.int64], classes: Sequence[str], title: str
) -> Path:
    """Counts as numbers, shares of each true class as colour."""
    size = 2.6 + 0.75 * len(classes)
    figure = _figure(size + 0.6, size)
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("share of the true class")
    return _save(figure, path)


def draw_mistakes(
    path: Path,
    mistakes: Sequence[Mistake],
    pixels: npt.NDArray[np.uint8],
    classes: Sequence[str],
    title: str,
    columns: int = 6,
) -> Path:
    """Pictures with what they were taken for; none is fine too.

    Args:
        pixels: [n, S, S, 3], which the mistakes index.
    """
    rows = max(1, -(-len(mistakes) // columns))
    figure = _figure(1.75 * columns, 2.25 * rows + 0.4)
    figure.suptitle(title if mistakes else f"{title}: none")
    for place, mistake in enumerate(mistakes):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(pixels[mistake.index])
        axes.set_axis_off()
        axes.set_title(
            f"{classes[mistake.predicted]} {mistake.probability:.0%}\nis {classes[mistake.label]}",
            fontsize=9,
        )
    return _save(figure, path)


def draw_rows(
    path: Path,
    rows: Sequence[npt.NDArray[np.uint8]],
    names: Sequence[str],
    columns: Sequence[str],
    title: str,
) -> Path:
    """One row of pictures for each name.

    Args:
        rows: uint8 [number of columns, S, S, 3] for each name.
        columns: a heading for each column, or "".
    """
    figure = _figure(1.3 * len(columns) + 1.0, 1.35 * len(rows) + 0.6)
    figure.suptitle(title)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes_row, pictures, name in zip(grid, rows, names, strict=True):
        for axes, picture in zip(axes_row, pictures, strict=True):
            axes.imshow(picture)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, heading in zip(grid[0], columns, strict=True):
        axes.set_title(heading, fontsize=9)
    return _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Class names may be in any script; a box in place of a letter is no reason to fail.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, metadata={"Software": None})  # the same bytes for the same figure
    return path
