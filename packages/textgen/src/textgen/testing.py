"""Real training runs of a tiny model, for the tests: the command, its exit code, what it wrote."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdcore.horovodrun import clean_environment

TINY = (
    "--model", "char", "--num-layers", "2", "--attention-every", "2", "--num-heads", "2",
    "--embed-dim", "16", "--mlp-dim", "32", "--context-length", "16", "--tokenizer", "byte",
    "--global-batch-size", "12", "--sample-tokens", "0",
)  # fmt: skip
"""A short convolution and an attention, 9,400 parameters: a step takes milliseconds."""


@dataclass(frozen=True)
class Run:
    """A finished command and its run directory."""

    path: Path
    returncode: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.path / "report.json").read_text())

    def losses(self, split: str) -> dict[int, float]:
        """Loss by step, from metrics.jsonl."""
        lines = (self.path / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return {row["step"]: row["loss"] for row in rows if row["split"] == split}

    def check(self) -> Run:
        """Itself, when the command ended well; else an error with all that it printed."""
        assert self.returncode == 0, f"exit {self.returncode}\n{self.stdout}\n{self.stderr}"
        return self


def command(*arguments: str) -> list[str]:
    """``textgen`` with arguments, by this interpreter."""
    return [sys.executable, "-m", "textgen", *arguments]


def environment(cache: Path) -> dict[str, str]:
    """This process's, as the launcher cleans it, with a cache of the tests' own."""
    own = {"TEXTGEN_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return {**clean_environment(os.environ), **own}


def train(
    output_dir: Path,
    data: Path | str,
    *flags: str,
    launcher: tuple[str, ...] = (),
    cache: Path | None = None,
    timeout: float = 300.0,
) -> Run:
    """Train the tiny model and wait for the end."""
    line = [
        *launcher,
        *command("train", "--data", str(data), "--output-dir", str(output_dir), *TINY, *flags),
    ]
    env = environment(cache or output_dir.parent / "cache")
    ended = subprocess.run(
        line, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip
    return Run(output_dir, ended.returncode, ended.stdout, ended.stderr)


def write_book(path: Path, num_words: int = 6000, seed: int = 0) -> Path:
    """A text of made-up words with some structure to learn."""
    draw = random.Random(seed)
    syllables = ["ka", "lo", "mi", "ru", "ta", "ne", "so", "vi"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(60)]
    chosen = draw.choices(words, weights=[1 / (i + 1) for i in range(60)], k=num_words)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(" ".join(chosen) + ".\n", encoding="utf-8")
    return path
