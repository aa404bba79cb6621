"""A step's samples on one rank: read, blended, changed, and filled up to a fixed size.

How a train picture is changed: by (seed, epoch, sample) alone, whichever rank does it.

Flip, crop and rotation are one affine map with bilinear sampling; then colour, then a rectangle of
grey (Zhong et al. 2017, "Random Erasing"). Pictures were blended before, when asked for (Zhang et
al. 2017, "mixup").
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.classifier.keras import Batch, smoothed
from image_cls.config import AugmentationFields, TrainConfig
from image_cls.data.dataset import Part

__all__ = [
    "NUM_DRAWS",
    "BatchReader",
    "apply_changes",
    "blending",
    "changes",
    "draws_of_epoch",
]

Draws = npt.NDArray[np.float32]

NUM_DRAWS = 16
"""Random numbers of one sample in one epoch."""
(
    _AREA, _ASPECT, _ROTATION, _FLIP, _X, _Y, _CONTRAST, _BRIGHTNESS, _SATURATION,
    _ERASE, _HEIGHT, _WIDTH, _TOP, _LEFT, _PARTNER, _MIX,
) = range(NUM_DRAWS)  # fmt: skip
_STREAM = 2
"""Tells these random numbers from those of the order of samples."""
_LARGEST_ASPECT = 1.25


def draws_of_epoch(n: int, seed: int, epoch: int) -> Draws:
    """Uniform numbers in [0, 1), float32 [n, NUM_DRAWS]: row i belongs to sample i.

    Raw Philox output, which numpy promises not to change, unlike `Generator`'s methods.
    """
    seeds = np.random.SeedSequence(seed, spawn_key=(_STREAM, epoch))
    raw = np.random.Philox(seeds).random_raw(n * NUM_DRAWS).reshape(n, NUM_DRAWS)
    return ((raw >> np.uint64(40)) / 2.0**24).astype(np.float32)


def blending(draws: Draws, n: int, mixup: float) -> tuple[npt.NDArray[np.int64], Draws]:
    """Which sample each is blended with, and its own share.

    Args:
        draws: [B, NUM_DRAWS] of the samples of a batch.
        n: samples of the train part; a partner may be any of them.
        mixup: probability of a blend.

    Returns:
        Partners int64 [B], and shares float32 [B] in [0.5, 1]; 1 is not blended. Given that there
        is a blend, the share is uniform.
    """
    partner = np.minimum((draws[:, _PARTNER] * n).astype(np.int64), n - 1)
    blend = draws[:, _MIX] < mixup
    share = 0.5 + 0.5 * draws[:, _MIX] / max(mixup, 1e-9)
    return partner, np.where(blend, share, 1.0).astype(np.float32)


def changes(
    draws: Draws, size: int, config: AugmentationFields
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The numbers that `apply_changes` takes, for the samples of a batch.

    Args:
        draws: [B, NUM_DRAWS].
        size: pixels a side.

    Returns:
        Affine maps from output to input [B, 8], as TensorFlow's projective transform takes them;
        contrast, brightness (in levels of 255) and saturation [B, 3]; rectangles to erase as top,
        bottom, left, right in pixels [B, 4], all -1 for none.
    """
    u = draws.astype(np.float64)
    return (
        _affine(u, size, config).astype(np.float32),
        _colour(u, config).astype(np.float32),
        _rectangle(u, size, config).astype(np.float32),
    )


def _signed(u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 2.0 * u - 1.0


def _affine(
    u: npt.NDArray[np.float64], size: int, config: AugmentationFields
) -> npt.NDArray[np.float64]:
    side = np.sqrt(config.crop_area + (1.0 - config.crop_area) * u[:, _AREA])
    stretch = np.exp(_signed(u[:, _ASPECT]) * math.log(_LARGEST_ASPECT) / 2.0)
    width, height = side * stretch, side / stretch
    angle = np.radians(config.rotation) * _signed(u[:, _ROTATION])
    flip = np.where(u[:, _FLIP] < 0.5, -1.0, 1.0)
    matrix = np.empty((len(u), 2, 2))
    matrix[:, 0, 0], matrix[:, 0, 1] = np.cos(angle) * width * flip, -np.sin(angle) * height
    matrix[:, 1, 0], matrix[:, 1, 1] = np.sin(angle) * width * flip, np.cos(angle) * height
    middle = (size - 1) / 2.0
    # The crop stays within the picture, up to its rotated corners, which are filled by reflection.
    room = np.stack([1.0 - width, 1.0 - height], axis=1).clip(0.0) * size / 2.0
    centre = middle + room * _signed(u[:, [_X, _Y]])
    offset = centre - matrix @ np.array([middle, middle])
    maps = np.zeros((len(u), 8))
    maps[:, 0:2], maps[:, 2] = matrix[:, 0], offset[:, 0]
    maps[:, 3:5], maps[:, 5] = matrix[:, 1], offset[:, 1]
    return maps


def _colour(u: npt.NDArray[np.float64], config: AugmentationFields) -> npt.NDArray[np.float64]:
    signed = _signed(u[:, [_CONTRAST, _BRIGHTNESS, _SATURATION]])
    return np.array([1.0, 0.0, 1.0]) + config.colour * signed * [1.0, 0.7 * 255.0, 1.0]


def _rectangle(
    u: npt.NDArray[np.float64], size: int, config: AugmentationFields
) -> npt.NDArray[np.float64]:
    height, width = size * (0.2 + 0.3 * u[:, _HEIGHT]), size * (0.2 + 0.3 * u[:, _WIDTH])
    top, left = u[:, _TOP] * (size - height), u[:, _LEFT] * (size - width)
    box = np.stack([top, top + height, left, left + width], axis=1)
    return np.where(u[:, [_ERASE]] < config.erase, box, -1.0)


def apply_changes(
    images: npt.NDArray[np.float32],
    maps: npt.NDArray[np.float32],
    colour: npt.NDArray[np.float32],
    boxes: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Change a batch, each picture for itself, to the bit.

    The arithmetic is NumPy's: TensorFlow rounds the last values of a tensor otherwise than those
    within, so that a picture would depend on its place in the batch.

    Args:
        images: float32 [B, S, S, 3] in 0..255.
        maps, colour, boxes: as `changes` makes them.

    Returns:
        float32 [B, S, S, 3] in 0..255.
    """
    size = images.shape[1]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=maps,
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    ).numpy()
    contrast, brightness, saturation = (colour[:, i, None, None, None] for i in range(3))
    grey = (moved[..., 0:1] + moved[..., 1:2] + moved[..., 2:3]) / np.float32(3.0)
    # Saturation and contrast in one: both are linear about a grey.
    changed: npt.NDArray[np.float32] = moved * (saturation * contrast)
    changed += grey * ((1.0 - saturation) * contrast) + (127.5 * (1.0 - contrast) + brightness)
    np.clip(changed, 0.0, 255.0, out=changed)
    for picture, box in zip(changed, np.ceil(boxes).astype(np.int64), strict=True):
        top, bottom, left, right = box
        if top >= 0:
            picture[top:bottom, left:right] = 127.5
    return changed


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
