"""The exact score of a part: a sum and integer counts, which add up over ranks.

The parts of a data set as training sees them, whatever its samples are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hvdcore.errors import UserError
from hvdcore.metrics.classification import accuracy, class_scores, macro_f1

__all__ = [
    "Part",
    "Score",
    "evenly",
    "first_of_each_class",
]


@dataclass(frozen=True)
class Score:
    """The negative log-likelihood of a part in nats, and the count of each (class, answer).

    Attributes:
        nll_sum: over all samples.
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
        """The figures of a point of the curves: loss, accuracy, macro F1."""
        return {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "macro_f1": macro_f1(self.matrix),
            "num_samples": self.num_samples,
        }

    def with_classes(self, classes: Sequence[str]) -> dict[str, Any]:
        """All figures of ``report.json``: those of each class too, and the matrix."""
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


class Part(Protocol):
    """Samples of train, val or test, with a class each."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each sample, int64 [n]."""

    def __len__(self) -> int: ...


def evenly(n: int, count: int) -> npt.NDArray[np.int64]:
    """`count` of 0..n-1 at even distances, or all if there are no more; int64, ascending."""
    count = min(count, n)
    return np.arange(count, dtype=np.int64) * n // max(count, 1)


def first_of_each_class(
    labels: npt.NDArray[np.int64], count: int, *, field: str, samples: str
) -> npt.NDArray[np.int64]:
    """The places of `count` samples, as many of each class as can be; int64, ascending.

    A larger count takes in what a smaller one took.

    Args:
        labels: int64 [n].
        field: the option that asked for it.
        samples: what they are called, in the plural.

    Raises:
        UserError: there are fewer.
    """
    if count > len(labels):
        raise UserError(
            f"{field}: {count} of only {len(labels)} {samples}; give {len(labels)} or less"
        )
    # By their place within the class, so that classes take turns.
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[members] = np.arange(len(members))
    return np.sort(np.argsort(turn, kind="stable")[:count])
