"""The figures of one run that only pictures have, drawn by rank 0 into its ``figures/``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.figures import most_confident_mistakes
from image_cls.data.batches import BatchReader
from image_cls.plots import draw_mistakes, draw_rows

if TYPE_CHECKING:
    from image_cls.task import ImageTask

__all__ = ["draw_augmentations", "draw_run_pictures"]

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
