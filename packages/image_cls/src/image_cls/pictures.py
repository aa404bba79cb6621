"""The figures of one run, drawn by rank 0 into its ``figures/``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.confusion import confusion_matrix
from image_cls.batches import BatchReader
from image_cls.figures import draw_confusion, draw_mistakes, draw_rows, most_confident_mistakes
from image_cls.image_data import Part
from image_cls.record import Record
from image_cls.training import Training

__all__ = ["draw_augmentations", "draw_run_pictures"]

NUM_MISTAKES = 12
NUM_EPOCHS = 7


def draw_run_pictures(
    training: Training,
    record: Record,
    split: str,
    part: Part,
    probabilities: npt.NDArray[np.float64],
) -> None:
    """Confusion matrix, most confident mistakes and sample augmentations. Rank 0 only.

    Args:
        probabilities: of each picture of the part [n, C].
    """
    classes, figures = training.data.classes, record.run.figures
    matrix = confusion_matrix(part.labels, probabilities.argmax(axis=1), len(classes))
    draw_confusion(figures / "confusion.png", matrix, classes, f"{split}: {len(part):,} pictures")
    mistakes = most_confident_mistakes(probabilities, part.labels, NUM_MISTAKES)
    draw_mistakes(
        figures / "mistakes.png", mistakes, part.pixels, classes,
        f"Most confident mistakes on {split}",
    )  # fmt: skip
    if training.config.augments:
        draw_augmentations(figures / "augmentations.png", training)


def draw_augmentations(path: Path, training: Training) -> Path:
    """A picture of each class as it is, and as the first epochs change it."""
    part, classes = training.train, training.data.classes
    chosen = np.array(
        [np.flatnonzero(part.labels == label)[0] for label in range(len(classes))], dtype=np.int64
    )
    reader = BatchReader(part, len(classes), len(chosen), training.config)
    columns = [part.pixels[chosen]]
    for epoch in range(NUM_EPOCHS):
        changed = reader.read(epoch, chosen).images
        columns.append(np.clip(changed, 0, 255).astype(np.uint8))
    headings = ["as it is", *(f"epoch {epoch}" for epoch in range(NUM_EPOCHS))]
    return draw_rows(path, list(np.stack(columns, axis=1)), classes, headings, "What training sees")
