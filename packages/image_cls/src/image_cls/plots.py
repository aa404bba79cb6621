"""The figures that only pictures have: mistakes and augmentations, as Matplotlib draws them.

The figures of one run that only pictures have, drawn by rank 0 into its ``figures/``.

``report.html``: scores, curves and pictures of one run, or of several side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.figures import Mistake, blank_figure, most_confident_mistakes, save_figure
from hvdcore.classifier.report import write_report
from hvdcore.run.pages import report_runs as report
from image_cls.config import WORDS
from image_cls.data.batches import BatchReader

if TYPE_CHECKING:
    from image_cls.train import ImageTask

__all__ = [
    "draw_augmentations",
    "draw_mistakes",
    "draw_rows",
    "draw_run_pictures",
    "report_runs",
]


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


NUM_MISTAKES = 12
NUM_EPOCHS = 7


def draw_run_pictures(
    task: ImageTask, figures: Path, split: str, probabilities: npt.NDArray[np.float64]
) -> None:
    """Most confident mistakes and sample augmentations. Rank 0 only.

    Args:
        figures: the folder.
        probabilities: of each picture of the part [n, C].
    """
    part = task.parts[split]
    mistakes = most_confident_mistakes(probabilities, part.labels, NUM_MISTAKES)
    draw_mistakes(
        figures / "mistakes.png", mistakes, part.pixels, task.classes,
        f"Most confident mistakes on {split}",
    )  # fmt: skip
    if task.config.augments:
        draw_augmentations(figures / "augmentations.png", task)


def draw_augmentations(path: Path, task: ImageTask) -> Path:
    """A picture of each class as it is, and as the first epochs change it."""
    part, classes = task.parts["train"], task.classes
    chosen = np.array(
        [np.flatnonzero(part.labels == label)[0] for label in range(len(classes))], dtype=np.int64
    )
    reader = BatchReader(part, len(classes), len(chosen), task.config)
    columns = [part.pixels[chosen]]
    for epoch in range(NUM_EPOCHS):
        (changed,) = reader.read(epoch, chosen).inputs
        columns.append(np.clip(changed, 0, 255).astype(np.uint8))
    headings = ["as it is", *(f"epoch {epoch}" for epoch in range(NUM_EPOCHS))]
    return draw_rows(path, list(np.stack(columns, axis=1)), classes, headings, "What training sees")


def report_runs(paths: Sequence[Path], output_dir: Path | None) -> Path:
    """``image-cls report RUN...``; see `hvdcore.run.pages.report_runs`."""
    return report(paths, output_dir, lambda runs, page: write_report(runs, page, WORDS))
