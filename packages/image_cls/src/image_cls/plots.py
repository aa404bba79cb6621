"""The figures that only image classifiers have: mistakes and augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.figures import blank_figure, most_confident_mistakes, save_figure
from hvdcore.files.figure_text import figure_text
from image_cls.config import TrainConfig
from image_cls.data.batches import BatchReader
from image_cls.data.dataset import Split

__all__ = [
    "draw_augmentations",
    "draw_image_grid",
    "draw_mistakes",
]

NUM_MISTAKES = 12
NUM_EPOCHS = 7


def draw_mistakes(
    path: Path,
    pixels: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    classes: Sequence[str],
    title: str,
    columns: int = 6,
) -> Path:
    """Draw the most confident mistakes, each image with the predicted and the true class.

    Args:
        pixels: [n, S, S, 3].
        labels: true classes [n].
        probabilities: predicted, [n, C].
    """
    mistakes = most_confident_mistakes(probabilities, labels, NUM_MISTAKES)
    rows = max(1, -(-len(mistakes) // columns))
    figure = blank_figure(1.75 * columns, 2.25 * rows + 0.4)
    figure.suptitle(title if mistakes else f"{title}: none")
    for position, mistake in enumerate(mistakes):
        axes = figure.add_subplot(rows, columns, position + 1)
        axes.imshow(pixels[mistake.index])
        axes.set_axis_off()
        predicted, label = (figure_text(classes[n]) for n in (mistake.predicted, mistake.label))
        axes.set_title(f"{predicted} {mistake.probability:.0%}\nis {label}", fontsize=9)
    return save_figure(figure, path)


def draw_augmentations(
    path: Path, split: Split, classes: Sequence[str], config: TrainConfig
) -> Path:
    """Draw a train image of each class, and its augmentation in the first epochs."""
    chosen = np.array(
        [np.flatnonzero(split.labels == label)[0] for label in range(len(classes))], dtype=np.int64
    )
    reader = BatchReader(split, len(classes), len(chosen), config)
    columns = [split.pixels[chosen]]
    for epoch in range(NUM_EPOCHS):
        (augmented,) = reader.get_batch(epoch, chosen).inputs
        columns.append(np.clip(augmented, 0, 255).astype(np.uint8))
    headings = ["original", *(f"epoch {epoch}" for epoch in range(NUM_EPOCHS))]
    rows = list(np.stack(columns, axis=1))
    return draw_image_grid(path, rows, classes, headings, "Augmentation of train images")


def draw_image_grid(
    path: Path,
    rows: Sequence[npt.NDArray[np.uint8]],
    names: Sequence[str],
    headings: Sequence[str],
    title: str,
) -> Path:
    """Draw one row of images for each name.

    Args:
        rows: uint8 [number of columns, S, S, 3] for each name.
        headings: of the columns.
    """
    figure = blank_figure(1.3 * len(headings) + 1.0, 1.35 * len(rows) + 0.6)
    figure.suptitle(title)
    axes = figure.add_subplot()
    # One picture of all images: axes for each take a second or two to lay out.
    size = rows[0].shape[1]
    gap = -(-size // 16)
    axes.imshow(np.concatenate([_strip(images, gap) for images in rows]))
    height, width = (np.arange(n) * (size + gap) + size / 2 for n in (len(rows), len(headings)))
    axes.set_yticks(height, [figure_text(name) for name in names])
    axes.set_xticks(width, headings, fontsize=9)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    return save_figure(figure, path)


def _strip(images: npt.NDArray[np.uint8], gap: int) -> npt.NDArray[np.uint8]:
    """Images [n, S, S, 3] side by side, with white between and below: [S + gap, n (S + gap), 3]."""
    padded = np.pad(images, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    return np.concatenate(list(padded), axis=1)
