"""A step's samples on one rank: read, blended, changed, and filled up to a fixed size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from image_cls.augment import Draws, apply_changes, blending, changes, draws_of_epoch
from image_cls.config import TrainConfig
from image_cls.image_data import Part

__all__ = ["Batch", "BatchReader", "filled_up", "smoothed"]


@dataclass(frozen=True)
class Batch:
    """What a rank computes in one step. Rows beyond its samples are zeros and weigh nothing.

    Attributes:
        images: float32 [B, S, S, 3] in 0..255.
        targets: probabilities, float32 [B, C].
        weights: 1 for a sample and 0 for a row that fills up, float32 [B].
    """

    images: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]


class BatchReader:
    """Makes batches of the train part. A sample's batch does not matter to how it is changed.

    Args:
        part: train pictures.
        num_classes: C.
        rows: B, which is the global batch divided by the number of ranks.
    """

    def __init__(self, part: Part, num_classes: int, rows: int, config: TrainConfig) -> None:
        self.part, self.num_classes, self.rows, self.config = part, num_classes, rows, config
        # An epoch's draws are made once, not once a step.
        self._draws = lru_cache(maxsize=1)(
            lambda epoch: draws_of_epoch(len(part), config.seed, epoch)
        )

    def read(self, epoch: int, indices: npt.NDArray[np.int64]) -> Batch:
        """The batch of these samples in this epoch; at most `rows` of them."""
        images = self.part.pixels[indices].astype(np.float32)
        targets = smoothed(self.part.labels[indices], self.num_classes, self.config.label_smoothing)
        weights = filled_up(np.ones(len(indices), dtype=np.float32), self.rows)
        if not self.config.augments:
            return Batch(filled_up(images, self.rows), filled_up(targets, self.rows), weights)
        draws = self._draws(epoch)[indices]
        images, targets = self._blend(draws, images, targets)
        numbers = changes(draws, images.shape[1], self.config)
        changed = apply_changes(images, *numbers)
        return Batch(filled_up(changed, self.rows), filled_up(targets, self.rows), weights)

    def _blend(
        self, draws: Draws, images: npt.NDArray[np.float32], targets: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        partners, shares = blending(draws, len(self.part), self.config.mixup)
        (blended,) = np.nonzero(shares < 1.0)
        share, others = shares[blended, None], partners[blended]
        images[blended] *= share[..., None, None]
        images[blended] += (1.0 - share[..., None, None]) * self.part.pixels[others]
        smoothing = self.config.label_smoothing
        other_targets = smoothed(self.part.labels[others], self.num_classes, smoothing)
        targets[blended] = share * targets[blended] + (1.0 - share) * other_targets
        return images, targets


def smoothed(
    labels: npt.NDArray[np.int64], num_classes: int, smoothing: float
) -> npt.NDArray[np.float32]:
    """Target probabilities [n, C]: `smoothing` spread over all classes, the rest on the label."""
    sure: npt.NDArray[np.float32] = np.eye(num_classes, dtype=np.float32)[labels]
    return sure * np.float32(1.0 - smoothing) + np.float32(smoothing / num_classes)


def filled_up(values: npt.NDArray[np.float32], rows: int) -> npt.NDArray[np.float32]:
    """The values with zeros below, up to `rows`: one shape for all steps is compiled once."""
    missing = rows - len(values)
    assert missing >= 0, f"{len(values)} samples in a batch of {rows}"
    return np.pad(values, [(0, missing), *[(0, 0)] * (values.ndim - 1)]) if missing else values
