"""What a configuration leaves open follows from the numbers of train images and of epochs."""

from __future__ import annotations

import pytest

from image_cls.config import TrainConfig
from image_cls.schedule import augmentation_strength, between, default_epochs


def test_images_seen_grow_with_a_power_of_the_train_images() -> None:
    seen = {n: n * default_epochs(n) for n in (2_000, 8_000, 32_000)}
    # Four times as many images: 4 ** 0.4 = 1.741 times as many are seen, within whole epochs.
    assert seen[8_000] / seen[2_000] == pytest.approx(1.741, rel=0.02)
    assert seen[32_000] / seen[8_000] == pytest.approx(1.741, rel=0.04)
    assert (default_epochs(100), default_epochs(10**7)) == (200, 10)


def test_strength_grows_with_the_logarithm_of_the_passes() -> None:
    assert [augmentation_strength(n) for n in (0.1, 12, 150, 999)] == pytest.approx([0, 0, 1, 1])
    middle = (12 * 150) ** 0.5
    assert augmentation_strength(middle) == pytest.approx(0.5)
    assert between(0.6, 0.35, 0.5) == 0.475


def test_few_images_are_augmented_as_before_and_many_less() -> None:
    few, many = (TrainConfig(data="scenes").resolved(n) for n in (700, 7_870))
    assert (few.epochs, few.crop_area, few.erase, few.mixup) == (166, 0.35, 0.25, 0.5)
    assert many.epochs == 39
    assert 0.35 < (many.crop_area or 0) < 0.6
    assert 0 < (many.erase or 0) < 0.25


def test_steps_decide_and_not_epochs() -> None:
    """1,024 steps are 32 passes over 1,000 images in 32 steps, of which the last one is short."""
    by_steps = TrainConfig(max_steps=1_024, epochs=150).resolved(1_000)
    by_epochs = TrainConfig(epochs=32).resolved(1_000)
    assert by_steps.mixup == by_epochs.mixup


def test_what_is_given_stays() -> None:
    given = TrainConfig(epochs=7, crop_area=0.9, erase=0.0, mixup=1.0, optimizer="adamw")
    assert given.resolved(5_000) == given


@pytest.mark.parametrize("fields", [{"data": "sample"}, {"data": "scenes", "model": "logreg"}])
def test_short_runs_by_default(fields: dict[str, str]) -> None:
    assert TrainConfig.model_validate(fields).resolved(810).epochs == 30
