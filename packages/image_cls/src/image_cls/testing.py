"""Real training runs on few and small pictures, for the tests: the command, and what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from hvdcore.horovodrun import clean_environment
from image_cls.sample import CLASSES, draw_scene

TINY = (
    "--image-size", "16", "--global-batch-size", "12", "--log-every", "1", "--ema-decay", "0.5",
)  # fmt: skip
"""The real network on pictures so small that a step takes milliseconds."""


@dataclass(frozen=True)
class Run:
    """A finished command and its run directory."""

    path: Path
    returncode: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.path / "report.json").read_text(encoding="utf-8"))

    def values(self, split: str, name: str) -> dict[int, float]:
        """One value by step, from metrics.jsonl."""
        lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return {row["step"]: row[name] for row in rows if row["split"] == split}

    def losses(self, split: str) -> dict[int, float]:
        """Loss by step."""
        return self.values(split, "loss")

    def check(self) -> Run:
        """Itself, when the command ended well; else an error with all that it printed."""
        assert self.returncode == 0, f"exit {self.returncode}\n{self.stdout}\n{self.stderr}"
        return self


def command(*arguments: str) -> list[str]:
    """``image-cls`` with arguments, by this interpreter."""
    return [sys.executable, "-m", "image_cls", *arguments]


def environment(cache: Path) -> dict[str, str]:
    """This process's, as the launcher cleans it, with a cache of the tests' own."""
    own = {"XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    return {**clean_environment(os.environ), **own}


def train(
    output_dir: Path,
    data: Path | str,
    *flags: str,
    launcher: tuple[str, ...] = (),
    timeout: float = 900.0,
) -> Run:
    """Train on small pictures and wait for the end."""
    arguments = ("train", "--data", str(data), "--output-dir", str(output_dir), *TINY, *flags)
    return run(output_dir, [*launcher, *command(*arguments)], timeout)


def run(output_dir: Path, line: list[str], timeout: float = 900.0) -> Run:
    """Any command, in the environment of the tests."""
    ended = subprocess.run(
        line, env=environment(output_dir.parent / "cache"), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    return Run(output_dir, ended.returncode, ended.stdout, ended.stderr)


def write_scenes(
    folder: Path, per_class: int, size: int = 32, first: int = 0, classes: int = len(CLASSES)
) -> Path:
    """Class folders with PNG files of the sample's scenes.

    Args:
        first: number of the first scene of each class; others are other pictures.
        classes: so many of the classes.
    """
    for label, name in enumerate(CLASSES[:classes]):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + per_class):
            Image.fromarray(draw_scene(label, number, size)).save(folder / name / f"{number}.png")
    return folder
