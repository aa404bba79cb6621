"""The exact score of a split: a sum and integer counts, which add up over ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hvdcore.metrics.classification import accuracy, class_scores, macro_f1

__all__ = ["Score"]


@dataclass(frozen=True)
class Score:
    """The summed negative log-likelihood of a split, and its confusion matrix.

    Attributes:
        nll_sum: over all samples, in nats.
        matrix: int64 [C, C]; row = true class, column = predicted class.
    """

    nll_sum: float
    matrix: npt.NDArray[np.int64]

    @property
    def num_samples(self) -> int:
        return int(self.matrix.sum())

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood of the true class, in nats."""
        return self.nll_sum / self.num_samples

    @property
    def accuracy(self) -> float:
        return accuracy(self.matrix)

    def to_json(self) -> dict[str, float | int]:
        """The values of one point of the curves: loss, accuracy, macro F1."""
        return {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "macro_f1": macro_f1(self.matrix),
            "num_samples": self.num_samples,
        }

    def with_classes(self, classes: Sequence[str]) -> dict[str, Any]:
        """All values of ``report.json``: also those of each class, and the confusion matrix."""
        scores = class_scores(self.matrix)
        columns = (scores.precision, scores.recall, scores.f1, scores.support)
        rows = zip(classes, *(column.tolist() for column in columns), strict=True)
        per_class = {
            name: {"precision": p, "recall": r, "f1": f, "support": s} for name, p, r, f, s in rows
        }
        return {
            **self.to_json(),
            "classes": per_class,
            "confusion_matrix": self.matrix.tolist(),
        }
