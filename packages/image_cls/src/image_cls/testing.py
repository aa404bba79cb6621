"""Real training runs on a few small images, for tests."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from hvdcore.testing.runs import Run
from hvdcore.testing.trainer import Trainer
from image_cls.data.sample import CLASSES, draw_scene

__all__ = ["TINY", "Run", "command", "environment", "run", "train", "write_scenes"]

TINY = (
    "--image-size", "16", "--global-batch-size", "12", "--log-every", "1", "--ema-decay", "0.5",
)  # fmt: skip
"""The real network on images so small that a step takes milliseconds."""


_TRAINER = Trainer("image_cls", TINY)
command, environment = _TRAINER.command, _TRAINER.environment
run, train = _TRAINER.run, _TRAINER.train


def write_scenes(
    folder: Path, per_class: int, size: int = 32, first: int = 0, classes: int = len(CLASSES)
) -> Path:
    """Write class folders with PNG files of the sample's scenes.

    Args:
        first: number of the first scene of each class.
        classes: number of classes.
    """
    for label, name in enumerate(CLASSES[:classes]):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + per_class):
            Image.fromarray(draw_scene(label, number, size)).save(folder / name / f"{number}.png")
    return folder
