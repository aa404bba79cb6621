"""Real training runs on a few small images, for tests."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from hvdcore.testing.runs import Run, ranks_environment, run_command
from image_cls.data.sample import CLASSES, draw_scene

__all__ = ["TINY", "Run", "command", "environment", "run", "train", "write_scenes"]

TINY = (
    "--image-size", "16", "--global-batch-size", "12", "--log-every", "1", "--ema-decay", "0.5",
)  # fmt: skip
"""The real network on images so small that a step takes milliseconds."""


def command(*arguments: str) -> list[str]:
    """``image-cls`` with arguments, by this interpreter."""
    return [sys.executable, "-m", "image_cls", *arguments]


def environment(cache: Path) -> dict[str, str]:
    """This process's, as the launcher cleans it, with a cache of the tests' own."""
    return ranks_environment({"XDG_CACHE_HOME": str(cache)})


def train(
    output_dir: Path,
    data: Path | str,
    *flags: str,
    launcher: tuple[str, ...] = (),
    timeout: float = 900.0,
) -> Run:
    """Train on small images and wait for the end."""
    arguments = ("train", "--data", str(data), "--output-dir", str(output_dir), *TINY, *flags)
    return run(output_dir, [*launcher, *command(*arguments)], timeout)


def run(output_dir: Path, line: list[str], timeout: float = 900.0) -> Run:
    """Run any command in the environment of the tests."""
    return run_command(output_dir, line, environment(output_dir.parent / "cache"), timeout)


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
