"""The command ``prepare``: prepares the images and prints what was found."""

from __future__ import annotations

from hvdcore.classifier.prepare_command import prepare_with_progress, print_prepared
from image_cls.config import SAMPLE_NAMES, TrainConfig
from image_cls.data.prepare import prepare, summary

__all__ = ["prepare_and_print"]


def prepare_and_print(config: TrainConfig) -> None:
    """Prepare the data and print the splits, the image sizes, and what was skipped."""
    data = prepare_with_progress(lambda progress: prepare(config, progress), SAMPLE_NAMES.samples)
    sizes = ", ".join(f"{size} ({count:,})" for size, count in data.meta["sizes"].items())
    print_prepared(data, [summary(data), f"sizes: {sizes}"])
