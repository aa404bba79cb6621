"""Batches of train images: mixup and augmentation, which depend on (seed, epoch, sample) alone.

First mixup (Zhang et al. 2017); then flip, crop and rotation as one affine map with bilinear
sampling; then color; then random erasing (Zhong et al. 2017). A sample is augmented in the same way
whichever rank and batch it is in.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.classifier.keras import Batch, smooth_labels
from image_cls.config import AugmentationFields, TrainConfig
from image_cls.data.dataset import Split

__all__ = [
    "NUM_DRAWS",
    "BatchReader",
    "apply_augmentation",
    "augmentation_parameters",
    "draws_of_epoch",
    "mixup",
]

Draws = npt.NDArray[np.float32]

NUM_DRAWS = 16
"""Random numbers per sample and epoch."""
(
    _AREA, _ASPECT, _ROTATION, _FLIP, _X, _Y, _CONTRAST, _BRIGHTNESS, _SATURATION,
    _ERASE, _HEIGHT, _WIDTH, _TOP, _LEFT, _PARTNER, _MIX,
) = range(NUM_DRAWS)  # fmt: skip
_STREAM = 2
"""Separates these random numbers from those of the order of samples."""
_LARGEST_ASPECT = 1.25


def draws_of_epoch(n: int, seed: int, epoch: int) -> Draws:
    """Uniform numbers in [0, 1), float32 [n, NUM_DRAWS]: row i belongs to sample i.

    Raw Philox output, which NumPy guarantees not to change, unlike the methods of `Generator`.
    """
    seeds = np.random.SeedSequence(seed, spawn_key=(_STREAM, epoch))
    raw = np.random.Philox(seeds).random_raw(n * NUM_DRAWS).reshape(n, NUM_DRAWS)
    return ((raw >> np.uint64(40)) / 2.0**24).astype(np.float32)


def mixup(draws: Draws, n: int, probability: float) -> tuple[npt.NDArray[np.int64], Draws]:
    """The sample that each one is mixed with, and its own share.

    Args:
        draws: [B, NUM_DRAWS] of the samples of a batch.
        n: samples of the train split; a partner may be any of them.
        probability: that a sample is mixed.

    Returns:
        Partners int64 [B], and shares float32 [B] in [0.5, 1]; 1 means not mixed. The share of a
        mixed sample is uniform.
    """
    partner = np.minimum((draws[:, _PARTNER] * n).astype(np.int64), n - 1)
    is_mixed = draws[:, _MIX] < probability
    share = 0.5 + 0.5 * draws[:, _MIX] / max(probability, 1e-9)
    return partner, np.where(is_mixed, share, 1.0).astype(np.float32)


def augmentation_parameters(
    draws: Draws, size: int, config: AugmentationFields
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The parameters of `apply_augmentation` for the samples of a batch.

    Args:
        draws: [B, NUM_DRAWS].
        size: height and width in pixels.

    Returns:
        Affine maps from output to input [B, 8], as TensorFlow's projective transform takes them;
        contrast, brightness (of 255) and saturation [B, 3]; rectangles to erase as top, bottom,
        left, right in pixels [B, 4], all -1 for none.
    """
    u = draws.astype(np.float64)
    return (
        _affine(u, size, config).astype(np.float32),
        _color(u, config).astype(np.float32),
        _rectangle(u, size, config).astype(np.float32),
    )


def _signed(u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 2.0 * u - 1.0


def _affine(
    u: npt.NDArray[np.float64], size: int, config: AugmentationFields
) -> npt.NDArray[np.float64]:
    assert config.crop_area is not None
    side = np.sqrt(config.crop_area + (1.0 - config.crop_area) * u[:, _AREA])
    stretch = np.exp(_signed(u[:, _ASPECT]) * math.log(_LARGEST_ASPECT) / 2.0)
    width, height = side * stretch, side / stretch
    angle = np.radians(config.rotation) * _signed(u[:, _ROTATION])
    flip = np.where(u[:, _FLIP] < 0.5, -1.0, 1.0)
    matrix = np.empty((len(u), 2, 2))
    matrix[:, 0, 0], matrix[:, 0, 1] = np.cos(angle) * width * flip, -np.sin(angle) * height
    matrix[:, 1, 0], matrix[:, 1, 1] = np.sin(angle) * width * flip, np.cos(angle) * height
    middle = (size - 1) / 2.0
    # The crop stays within the image, except for rotated corners, which are filled by reflection.
    room = np.stack([1.0 - width, 1.0 - height], axis=1).clip(0.0) * size / 2.0
    center = middle + room * _signed(u[:, [_X, _Y]])
    offset = center - matrix @ np.array([middle, middle])
    maps = np.zeros((len(u), 8))
    maps[:, 0:2], maps[:, 2] = matrix[:, 0], offset[:, 0]
    maps[:, 3:5], maps[:, 5] = matrix[:, 1], offset[:, 1]
    return maps


def _color(u: npt.NDArray[np.float64], config: AugmentationFields) -> npt.NDArray[np.float64]:
    signed = _signed(u[:, [_CONTRAST, _BRIGHTNESS, _SATURATION]])
    return np.array([1.0, 0.0, 1.0]) + config.colour * signed * [1.0, 0.7 * 255.0, 1.0]


def _rectangle(
    u: npt.NDArray[np.float64], size: int, config: AugmentationFields
) -> npt.NDArray[np.float64]:
    height, width = size * (0.2 + 0.3 * u[:, _HEIGHT]), size * (0.2 + 0.3 * u[:, _WIDTH])
    top, left = u[:, _TOP] * (size - height), u[:, _LEFT] * (size - width)
    box = np.stack([top, top + height, left, left + width], axis=1)
    assert config.erase is not None
    return np.where(u[:, [_ERASE]] < config.erase, box, -1.0)


def apply_augmentation(
    images: npt.NDArray[np.float32],
    maps: npt.NDArray[np.float32],
    color: npt.NDArray[np.float32],
    boxes: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Augment a batch. Each image's result is exactly the same in any batch.

    The arithmetic is NumPy's: TensorFlow rounds the last values of a tensor differently from the
    others, so an image would depend on its position in the batch.

    Args:
        images: float32 [B, S, S, 3] in 0..255.
        maps, color, boxes: as `augmentation_parameters` returns them.

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
    contrast, brightness, saturation = (color[:, i, None, None, None] for i in range(3))
    gray = (moved[..., 0:1] + moved[..., 1:2] + moved[..., 2:3]) / np.float32(3.0)
    # Saturation and contrast in one step: both are linear around a gray.
    changed: npt.NDArray[np.float32] = moved * (saturation * contrast)
    changed += gray * ((1.0 - saturation) * contrast) + (127.5 * (1.0 - contrast) + brightness)
    np.clip(changed, 0.0, 255.0, out=changed)
    for image, box in zip(changed, np.ceil(boxes).astype(np.int64), strict=True):
        top, bottom, left, right = box
        if top >= 0:
            image[top:bottom, left:right] = 127.5
    return changed


class BatchReader:
    """Reads batches of the train split.

    Args:
        split: the train images.
        num_classes: C.
        rows: B, the global batch size divided by the number of ranks.
        config: `resolved` for the number of train images.
    """

    def __init__(self, split: Split, num_classes: int, rows: int, config: TrainConfig) -> None:
        self.split, self.num_classes, self.rows, self.config = split, num_classes, rows, config
        # Drawn once per epoch, not once per step.
        self._draws = lru_cache(maxsize=1)(
            lambda epoch: draws_of_epoch(len(split), config.seed, epoch)
        )

    def get_batch(self, epoch: int, indices: npt.NDArray[np.int64]) -> Batch:
        """The batch of these samples, at most `rows` of them, as this epoch augments them."""
        images = self.split.pixels[indices].astype(np.float32)
        targets = self._targets(indices)
        if not self.config.augments:
            return Batch.padded((images,), targets, self.rows)
        draws = self._draws(epoch)[indices]
        images, targets = self._mix(draws, images, targets)
        parameters = augmentation_parameters(draws, images.shape[1], self.config)
        return Batch.padded((apply_augmentation(images, *parameters),), targets, self.rows)

    def settings(self) -> dict[str, Any]:
        """What the number of train images decided, or was given instead of that."""
        names = [] if self.config.max_steps else ["epochs"]
        names += ["crop_area", "erase", "mixup"] if self.config.augments else []
        return {name: getattr(self.config, name) for name in names}

    def _mix(
        self, draws: Draws, images: npt.NDArray[np.float32], targets: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        assert self.config.mixup is not None
        partners, shares = mixup(draws, len(self.split), self.config.mixup)
        (mixed,) = np.nonzero(shares < 1.0)
        share, others = shares[mixed, None], partners[mixed]
        images[mixed] *= share[..., None, None]
        images[mixed] += (1.0 - share[..., None, None]) * self.split.pixels[others]
        targets[mixed] = share * targets[mixed] + (1.0 - share) * self._targets(others)
        return images, targets

    def _targets(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        labels, smoothing = self.split.labels[indices], self.config.label_smoothing
        return smooth_labels(labels, self.num_classes, smoothing)
