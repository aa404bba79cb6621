"""What a finished run tells in ``report.json`` and in the figures that every classifier has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.figures import draw_confusion, draw_reliability
from hvdcore.classifier.score import Score
from hvdcore.classifier.words import Words
from hvdcore.metrics.classification import confusion_matrix

__all__ = ["draw_results", "report_values"]


def report_values(
    run: Mapping[str, Any],
    package: Mapping[str, Any],
    scores: Mapping[str, Score | None],
    classes: Sequence[str],
) -> dict[str, Any]:
    """All of ``report.json``: the run, what its package adds, and each part that is not empty."""
    parts = {
        split: score.with_classes(classes) for split, score in scores.items() if score is not None
    }
    return {**run, **package, **parts}


def draw_results(
    figures: Path,
    split: str,
    probabilities: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    words: Words,
) -> None:
    """Confusion matrix and reliability diagram of a part.

    Args:
        figures: the folder.
        probabilities: of each sample [n, C].
        labels: true classes [n].
    """
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), len(classes))
    title = f"{split}: {len(labels):,} {words.samples}"
    draw_confusion(figures / "confusion.png", matrix, classes, title)
    draw_reliability(figures / "reliability.png", probabilities, labels, title)
