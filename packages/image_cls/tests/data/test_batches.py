"""Augmentation depends on (seed, epoch, sample) alone; each kind does what it should."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hvdcore.classifier.keras import pad_rows, smooth_labels
from image_cls.config import TrainConfig
from image_cls.data.batches import (
    NUM_DRAWS,
    BatchReader,
    apply_augmentation,
    augmentation_parameters,
    draws_of_epoch,
    mixup,
)
from image_cls.data.dataset import Split

STILL = {"crop_area": 1.0, "rotation": 0.0, "colour": 0.0, "erase": 0.0, "mixup": 0.0}


def config(**fields: object) -> TrainConfig:
    return TrainConfig.model_validate({**STILL, "label_smoothing": 0.0, **fields})


def split(n: int = 9, size: int = 16) -> Split:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (n, size, size, 3)).astype(np.uint8)
    return Split(pixels, np.arange(n) % 3, [str(i) for i in range(n)])


def middle(n: int) -> npt.NDArray[np.float32]:
    """Draws in the middle of every range: no stretch, no shift; a flip only below 0.5."""
    return np.full((n, NUM_DRAWS), 0.5, dtype=np.float32)


def augmented(images: npt.NDArray[np.float32], draws: npt.NDArray[np.float32], **fields: object):
    numbers = augmentation_parameters(draws, images.shape[1], config(**fields))
    return apply_augmentation(images, *numbers)


def test_draws_are_pinned() -> None:
    """With other numbers no published run could be repeated."""
    draws = draws_of_epoch(2, seed=3, epoch=1)
    assert draws.shape == (2, NUM_DRAWS)
    assert draws.dtype == np.float32
    assert draws[1, :3].tolist() == pytest.approx(PINNED, abs=1e-7)
    assert ((draws >= 0) & (draws < 1)).all()
    assert (draws != draws_of_epoch(2, seed=3, epoch=2)).all()
    assert (draws != draws_of_epoch(2, seed=4, epoch=1)).all()


PINNED = [0.9485524892807007, 0.8886861801147461, 0.22648364305496216]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_sample_is_augmented_alike_in_any_batch(rows: int) -> None:
    wild = config(crop_area=0.3, rotation=20.0, colour=0.4, erase=0.7, mixup=0.7)
    images = split()
    together = BatchReader(images, 3, 9, wild).get_batch(4, np.arange(9))
    for start in range(0, 9, rows):
        indices = np.arange(start, min(9, start + rows))
        alone = BatchReader(images, 3, rows, wild).get_batch(4, indices)
        here = slice(start, start + len(indices))
        assert (alone.inputs[0][: len(indices)] == together.inputs[0][here]).all()
        assert (alone.targets[: len(indices)] == together.targets[here]).all()


def test_epochs_differ() -> None:
    reader = BatchReader(split(), 3, 9, config(crop_area=0.5))
    first, second = (reader.get_batch(epoch, np.arange(9)).inputs[0] for epoch in (0, 1))
    assert all((a != b).any() for a, b in zip(first, second, strict=True))


def test_padding_rows_have_no_weight() -> None:
    batch = BatchReader(split(), 3, 4, config()).get_batch(0, np.array([2, 7]))
    assert batch.weights.tolist() == [1, 1, 0, 0]
    assert batch.inputs[0].shape == (4, 16, 16, 3)
    assert batch.targets[:2].tolist() == [[0, 0, 1], [0, 1, 0]]


def test_a_batch_may_have_no_samples() -> None:
    """A rank may have no sample of an epoch's last, short batch."""
    batch = BatchReader(split(), 3, 2, config(mixup=0.5)).get_batch(0, np.array([], dtype=np.int64))
    assert batch.weights.tolist() == [0, 0]


def test_nothing_changes_in_the_middle_of_every_range() -> None:
    images = split().pixels.astype(np.float32)
    assert augmented(images, middle(9)) == pytest.approx(images, abs=1e-3)


def test_a_flip_is_a_mirror() -> None:
    images = split().pixels.astype(np.float32)
    draws = middle(9)
    draws[:, 3] = 0.4
    assert augmented(images, draws) == pytest.approx(images[:, :, ::-1], abs=1e-3)


def test_a_rotation_by_180_degrees() -> None:
    images = split().pixels.astype(np.float32)
    draws = middle(9)
    draws[:, 2] = 1.0
    turned = augmented(images, draws, rotation=180.0)
    assert turned == pytest.approx(images[:, ::-1, ::-1], abs=0.1)


def test_a_crop_of_a_quarter_shows_one_corner() -> None:
    ramp = np.tile(np.arange(16, dtype=np.float32)[None, None, :, None], (1, 16, 1, 3)) * 10
    draws = middle(1)
    draws[:, 0], draws[:, 4] = 0.0, 0.0  # the smallest crop, at the left
    seen = augmented(ramp, draws, crop_area=0.25)[0, 8, :, 0]
    # Half the width of 16 pixels, with its middle at 7.5 - 4: every column advances by a half.
    assert seen == pytest.approx(10 * (3.5 + 0.5 * (np.arange(16) - 7.5)).clip(0), abs=1.5)


def test_color_by_hand() -> None:
    images = np.tile(np.array([100.0, 120.0, 140.0], dtype=np.float32), (1, 16, 16, 1))
    draws = middle(1)
    draws[:, 6], draws[:, 7], draws[:, 8] = 1.0, 0.75, 0.0
    seen = augmented(images, draws, colour=0.5)[0, 0, 0]
    # Saturation 0.5: 110, 120, 130; contrast 1.5 about 127.5; brightness 0.5 * 0.5 * 0.7 * 255.
    expected = [(v - 127.5) * 1.5 + 127.5 + 44.625 for v in (110, 120, 130)]
    assert seen.tolist() == pytest.approx(expected, abs=1e-3)


def test_an_erased_rectangle_by_hand() -> None:
    images = np.zeros((1, 20, 20, 3), dtype=np.float32)
    draws = middle(1)
    draws[:, 9:14] = [0.0, 0.0, 1.0, 0.5, 0.5]  # 4 high, 10 wide, in the middle
    seen = augmented(images, draws, erase=1.0)[0, :, :, 0]
    assert set(np.unique(seen)) == {0.0, 127.5}
    rows, columns = np.nonzero(seen)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 11, 5, 14)


def test_mixup_by_hand() -> None:
    draws = middle(3)
    draws[:, 14], draws[:, 15] = [0.0, 0.999, 0.5], [0.0, 0.3, 0.6]
    partners, shares = mixup(draws, 10, probability=0.6)
    assert partners.tolist() == [0, 9, 5]
    assert shares.tolist() == pytest.approx([0.5, 0.75, 1.0])  # the third is not mixed


def test_mixed_targets_have_the_shares_of_the_images() -> None:
    images = Split(
        np.stack([np.full((16, 16, 3), v, np.uint8) for v in (0, 200)]), np.array([0, 1]), ["", ""]
    )
    batch = BatchReader(images, 2, 2, config(mixup=1.0)).get_batch(0, np.arange(2))
    brightness = batch.inputs[0][:, 0, 0, 0] / 200.0
    assert batch.targets[:, 1] == pytest.approx(brightness, abs=1e-4)
    assert batch.targets.sum(axis=1) == pytest.approx([1, 1])


def test_smoothed_labels_by_hand() -> None:
    (target,) = smooth_labels(np.array([1]), 4, 0.2).tolist()
    assert target == pytest.approx([0.05, 0.85, 0.05, 0.05])


def test_pad_rows_keeps_a_full_batch() -> None:
    full = np.ones((3, 2), dtype=np.float32)
    assert pad_rows(full, 3) is full
    assert pad_rows(full, 4).sum() == 6


def test_linear_models_see_the_original_images() -> None:
    settings = TrainConfig(model="logreg", label_smoothing=0.0)
    batch = BatchReader(split(), 3, 9, settings).get_batch(0, np.arange(9))
    assert (batch.inputs[0] == split().pixels).all()
