"""Owns whether a classifier is as sure as it is right: the reliability diagram's numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["NUM_BINS", "Reliability", "reliability"]

NUM_BINS = 10


@dataclass(frozen=True)
class Reliability:
    """By bin of confidence, from 0 to 1, float64 [NUM_BINS] each; 0 where a bin is empty.

    Attributes:
        count: samples.
        confidence: mean probability of the answer.
        accuracy: share of right answers.
        error: expected calibration error (Guo et al. 2017, equation 3): the mean of
            |accuracy - confidence| over samples.
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
