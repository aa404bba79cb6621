"""Changes depend on (seed, epoch, sample) alone; each kind does what it says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hvdcore.classifier.keras import filled_up, smoothed
from image_cls.config import TrainConfig
from image_cls.data.batches import (
    NUM_DRAWS,
    BatchReader,
    apply_changes,
    blending,
    changes,
    draws_of_epoch,
)
from image_cls.data.dataset import Part

STILL = {"crop_area": 1.0, "rotation": 0.0, "colour": 0.0, "erase": 0.0, "mixup": 0.0}


def config(**fields: object) -> TrainConfig:
    return TrainConfig.model_validate({**STILL, "label_smoothing": 0.0, **fields})


def part(n: int = 9, size: int = 16) -> Part:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (n, size, size, 3)).astype(np.uint8)
    return Part(pixels, np.arange(n) % 3, [str(i) for i in range(n)])


def middle(n: int) -> npt.NDArray[np.float32]:
    """Draws in the middle of every range: no stretch, no shift; a flip only below 0.5."""
    return np.full((n, NUM_DRAWS), 0.5, dtype=np.float32)


def changed(images: npt.NDArray[np.float32], draws: npt.NDArray[np.float32], **fields: object):
    numbers = changes(draws, images.shape[1], config(**fields))
    return apply_changes(images, *numbers)


def test_draws_are_pinned() -> None:
    """Other numbers would make every published run another run."""
    draws = draws_of_epoch(2, seed=3, epoch=1)
    assert draws.shape == (2, NUM_DRAWS)
    assert draws.dtype == np.float32
    assert draws[1, :3].tolist() == pytest.approx(PINNED, abs=1e-7)
    assert ((draws >= 0) & (draws < 1)).all()
    assert (draws != draws_of_epoch(2, seed=3, epoch=2)).all()
    assert (draws != draws_of_epoch(2, seed=4, epoch=1)).all()


PINNED = [0.9485524892807007, 0.8886861801147461, 0.22648364305496216]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_sample_is_changed_alike_in_any_batch(rows: int) -> None:
    wild = config(crop_area=0.3, rotation=20.0, colour=0.4, erase=0.7, mixup=0.7)
    pictures = part()
    together = BatchReader(pictures, 3, 9, wild).read(4, np.arange(9))
    for start in range(0, 9, rows):
        indices = np.arange(start, min(9, start + rows))
        alone = BatchReader(pictures, 3, rows, wild).read(4, indices)
        here = slice(start, start + len(indices))
        assert (alone.inputs[0][: len(indices)] == together.inputs[0][here]).all()
        assert (alone.targets[: len(indices)] == together.targets[here]).all()


def test_epochs_differ() -> None:
    reader = BatchReader(part(), 3, 9, config(crop_area=0.5))
    first, second = (reader.read(epoch, np.arange(9)).inputs[0] for epoch in (0, 1))
    assert all((a != b).any() for a, b in zip(first, second, strict=True))


def test_a_batch_is_filled_up_with_rows_that_weigh_nothing() -> None:
    batch = BatchReader(part(), 3, 4, config()).read(0, np.array([2, 7]))
    assert batch.weights.tolist() == [1, 1, 0, 0]
    assert batch.inputs[0].shape == (4, 16, 16, 3)
    assert batch.targets[:2].tolist() == [[0, 0, 1], [0, 1, 0]]


def test_no_samples_at_all_are_a_batch_too() -> None:
    """A rank may have none of an epoch's last, short batch."""
    batch = BatchReader(part(), 3, 2, config(mixup=0.5)).read(0, np.array([], dtype=np.int64))
    assert batch.weights.tolist() == [0, 0]


def test_nothing_changes_in_the_middle_of_every_range() -> None:
    images = part().pixels.astype(np.float32)
    assert changed(images, middle(9)) == pytest.approx(images, abs=1e-3)


def test_a_flip_is_a_mirror() -> None:
    images = part().pixels.astype(np.float32)
    draws = middle(9)
    draws[:, 3] = 0.4
    assert changed(images, draws) == pytest.approx(images[:, :, ::-1], abs=1e-3)


def test_a_half_turn_turns_everything_round() -> None:
    images = part().pixels.astype(np.float32)
    draws = middle(9)
    draws[:, 2] = 1.0
    turned = changed(images, draws, rotation=180.0)
    assert turned == pytest.approx(images[:, ::-1, ::-1], abs=0.1)


def test_a_crop_of_a_quarter_shows_one_corner() -> None:
    ramp = np.tile(np.arange(16, dtype=np.float32)[None, None, :, None], (1, 16, 1, 3)) * 10
    draws = middle(1)
    draws[:, 0], draws[:, 4] = 0.0, 0.0  # the smallest crop, at the left
    seen = changed(ramp, draws, crop_area=0.25)[0, 8, :, 0]
    # Half the width of 16 pixels, with its middle at 7.5 - 4: every column advances by a half.
    assert seen == pytest.approx(10 * (3.5 + 0.5 * (np.arange(16) - 7.5)).clip(0), abs=1.5)


def test_colour_by_hand() -> None:
    images = np.tile(np.array([100.0, 120.0, 140.0], dtype=np.float32), (1, 16, 16, 1))
    draws = middle(1)
    draws[:, 6], draws[:, 7], draws[:, 8] = 1.0, 0.75, 0.0
    seen = changed(images, draws, colour=0.5)[0, 0, 0]
    # Saturation 0.5: 110, 120, 130; contrast 1.5 about 127.5; brightness 0.5 * 0.5 * 0.7 * 255.
    expected = [(v - 127.5) * 1.5 + 127.5 + 44.625 for v in (110, 120, 130)]
    assert seen.tolist() == pytest.approx(expected, abs=1e-3)


def test_an_erased_rectangle_by_hand() -> None:
    images = np.zeros((1, 20, 20, 3), dtype=np.float32)
    draws = middle(1)
    draws[:, 9:14] = [0.0, 0.0, 1.0, 0.5, 0.5]  # 4 high, 10 wide, in the middle
    seen = changed(images, draws, erase=1.0)[0, :, :, 0]
    assert set(np.unique(seen)) == {0.0, 127.5}
    rows, columns = np.nonzero(seen)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 11, 5, 14)


def test_blending_by_hand() -> None:
    draws = middle(3)
    draws[:, 14], draws[:, 15] = [0.0, 0.999, 0.5], [0.0, 0.3, 0.6]
    partners, shares = blending(draws, 10, mixup=0.6)
    assert partners.tolist() == [0, 9, 5]
    assert shares.tolist() == pytest.approx([0.5, 0.75, 1.0])  # the third is not blended


def test_blended_targets_have_the_shares_of_the_pictures() -> None:
    pictures = Part(
        np.stack([np.full((16, 16, 3), v, np.uint8) for v in (0, 200)]), np.array([0, 1]), ["", ""]
    )
    batch = BatchReader(pictures, 2, 2, config(mixup=1.0)).read(0, np.arange(2))
    brightness = batch.inputs[0][:, 0, 0, 0] / 200.0
    assert batch.targets[:, 1] == pytest.approx(brightness, abs=1e-4)
    assert batch.targets.sum(axis=1) == pytest.approx([1, 1])


def test_smoothed_targets_by_hand() -> None:
    assert smoothed(np.array([1]), 4, 0.2).tolist() == [pytest.approx([0.05, 0.85, 0.05, 0.05])]


def test_filled_up_keeps_what_fits() -> None:
    full = np.ones((3, 2), dtype=np.float32)
    assert filled_up(full, 3) is full
    assert filled_up(full, 4).sum() == 6


def test_linear_models_see_pictures_as_they_are() -> None:
    settings = TrainConfig(model="logreg", label_smoothing=0.0)
    batch = BatchReader(part(), 3, 9, settings).read(0, np.arange(9))
    assert (batch.inputs[0] == part().pixels).all()
