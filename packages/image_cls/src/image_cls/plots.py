"""The figures that only pictures have: mistakes and augmentations, as Matplotlib draws them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.figures import Mistake, blank_figure, save_figure

__all__ = ["draw_mistakes", "draw_rows"]


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
    figure = blank_figure(1.75 * columns, 2.25 * rows + 0.4)
    figure.suptitle(title if mistakes else f"{title}: none")
    for place, mistake in enumerate(mistakes):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(pixels[mistake.index])
        axes.set_axis_off()
        axes.set_title(
            f"{classes[mistake.predicted]} {mistake.probability:.0%}\nis {classes[mistake.label]}",
            fontsize=9,
        )
    return save_figure(figure, path)


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
    figure = blank_figure(1.3 * len(columns) + 1.0, 1.35 * len(rows) + 0.6)
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
    return save_figure(figure, path)
