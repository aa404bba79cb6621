"""Classification scores from one integer confusion matrix that ranks can add up; calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "NUM_BINS",
    "ClassScores",
    "Reliability",
    "accuracy",
    "class_scores",
    "confusion_matrix",
    "macro_f1",
    "reliability",
]

Matrix = npt.NDArray[np.int64]


def confusion_matrix(labels: npt.ArrayLike, predictions: npt.ArrayLike, num_classes: int) -> Matrix:
    """Count each (label, prediction) pair; matrices of batches and of ranks are simply added.

    Args:
        labels: true classes, integers [n] in 0..num_classes-1; n may be 0.
        predictions: predicted classes, the same shape and range.
        num_classes: C.

    Returns:
        int64 [C, C]; row = true class, column = predicted class, as in scikit-learn.

    Raises:
        ValueError: when the shapes differ or a class is out of range.
    """
    true = np.asarray(labels, dtype=np.int64).ravel()
    predicted = np.asarray(predictions, dtype=np.int64).ravel()
    if true.shape != predicted.shape:
        raise ValueError(f"{true.size} labels but {predicted.size} predictions")
    for name, classes in (("label", true), ("prediction", predicted)):
        if classes.size and (classes.min() < 0 or classes.max() >= num_classes):
            bad = classes.max() if classes.max() >= num_classes else classes.min()
            raise ValueError(f"{name} {bad} is not a class of 0..{num_classes - 1}")
    counts = np.bincount(true * num_classes + predicted, minlength=num_classes**2)
    return counts.astype(np.int64).reshape(num_classes, num_classes)


@dataclass(frozen=True)
class ClassScores:
    """Scores by class, float64 [C] each; 0 where a ratio is 0/0, as scikit-learn's default."""

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]
    support: Matrix


def class_scores(matrix: Matrix) -> ClassScores:
    """Precision, recall, F1 and number of true samples of each class.

    Args:
        matrix: [C, C] as `confusion_matrix` makes it, summed over batches and ranks.
    """
    hits = np.diag(matrix).astype(np.float64)
    support, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    return ClassScores(
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, predicted + support),
        support=support.astype(np.int64),
    )


def macro_f1(matrix: Matrix) -> float:
    """The plain mean of F1 over the classes that occur as a label or as a prediction.

    Equal to `sklearn.metrics.f1_score(labels, predictions, average="macro")`.

    Raises:
        ZeroDivisionError: when the matrix counts no sample.
    """
    occurs = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    if not occurs.any():
        raise ZeroDivisionError("the confusion matrix counts no sample")
    return float(class_scores(matrix).f1[occurs].mean())


def accuracy(matrix: Matrix) -> float:
    """Samples on the diagonal / all samples.

    Raises:
        ZeroDivisionError: when the matrix counts no sample.
    """
    total = int(matrix.sum())
    if total == 0:
        raise ZeroDivisionError("the confusion matrix counts no sample")
    return int(np.trace(matrix)) / total


def _ratio(
    numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


NUM_BINS = 10


@dataclass(frozen=True)
class Reliability:
    """By bin of confidence, from 0 to 1, float64 [NUM_BINS] each; 0 where a bin is empty.

    Attributes:
        count: samples.
        confidence: mean probability of the answer.
        accuracy: share of right answers.
        error: expected calibration error (Guo et al. 2017, equation 3): the mean of
            `|accuracy - confidence|` over samples.
    """

    count: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    error: float


def reliability(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> Reliability:
    """Sort the answers by confidence into bins of equal width.

    Args:
        probabilities: [n, C].
        labels: true classes [n].
    """
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((sure * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    count = np.bincount(bins, minlength=NUM_BINS)
    filled = np.maximum(count, 1)
    confidence = np.bincount(bins, weights=sure, minlength=NUM_BINS) / filled
    accuracy = np.bincount(bins, weights=right.astype(np.float64), minlength=NUM_BINS) / filled
    gaps = count * np.abs(accuracy - confidence)
    return Reliability(count, confidence, accuracy, float(gaps.sum() / max(len(labels), 1)))
