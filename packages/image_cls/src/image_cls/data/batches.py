"""A step's samples on one rank: read, blended, changed, and filled up to a fixed size."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.keras import Batch, smoothed
from image_cls.config import TrainConfig
from image_cls.data.augment import Draws, apply_changes, blending, changes, draws_of_epoch
from image_cls.data.dataset import Part

__all__ = ["BatchReader"]


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
        if not self.config.augments:
            return Batch.of((images,), targets, self.rows)
        draws = self._draws(epoch)[indices]
        images, targets = self._blend(draws, images, targets)
        numbers = changes(draws, images.shape[1], self.config)
        return Batch.of((apply_changes(images, *numbers),), targets, self.rows)

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
