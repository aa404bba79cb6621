"""A step's samples on one rank, filled up to a fixed size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Batch", "Inputs", "filled_up", "smoothed"]

Inputs = tuple[npt.NDArray[Any], ...]
"""What a model takes: one array for each of its inputs, all with B rows."""


@dataclass(frozen=True)
class Batch:
    """What a rank computes in one step. Rows beyond its samples are zeros and weigh nothing.

    Attributes:
        inputs: of the model, each [B, ...].
        targets: probabilities, float32 [B, C].
        weights: 1 for a sample and 0 for a row that fills up, float32 [B].
    """

    inputs: Inputs
    targets: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def of(cls, inputs: Inputs, targets: npt.NDArray[np.float32], rows: int) -> Batch:
        """The samples, filled up to `rows`."""
        weights = np.ones(len(targets), dtype=np.float32)
        return cls(
            tuple(filled_up(values, rows) for values in inputs),
            filled_up(targets, rows),
            filled_up(weights, rows),
        )


def smoothed(
    labels: npt.NDArray[np.int64], num_classes: int, smoothing: float
) -> npt.NDArray[np.float32]:
    """Target probabilities [n, C]: `smoothing` spread over all classes, the rest on the label."""
    sure: npt.NDArray[np.float32] = np.eye(num_classes, dtype=np.float32)[labels]
    targets: npt.NDArray[np.float32] = sure * np.float32(1.0 - smoothing) + np.float32(
        smoothing / num_classes
    )
    return targets


def filled_up(values: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """The values with zeros below, up to `rows`: one shape for all steps is compiled once."""
    missing = rows - len(values)
    assert missing >= 0, f"{len(values)} samples in a batch of {rows}"
    if not missing:
        return values
    filled: npt.NDArray[Any] = np.pad(values, [(0, missing), *[(0, 0)] * (values.ndim - 1)])
    return filled
