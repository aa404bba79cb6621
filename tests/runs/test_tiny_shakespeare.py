"""The README's command on tiny Shakespeare: nanoGPT's budget, and the loss that it is to reach."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from textgen.testing import Run, command, environment

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HVD_DATA", ROOT.parent / "shared" / "data"))
TEXT = DATA / "tinyshakespeare" / "input.txt"

MOST_PARAMETERS = 800_000
NUM_STEPS = 2_000
TOKENS_PER_STEP = 12 * 64
MOST_LOSS = 1.53
"""Nats a character over the whole validation split; nanoGPT's own CPU setting: 1.886."""


def readme_command() -> list[str]:
    """The arguments of the README's run on `input.txt`."""
    page = (ROOT / "infra" / "docs" / "measured" / "books.md").read_text(encoding="utf-8")
    lines = re.findall(r"^textgen (train .*--data input\.txt .*)$", page, re.MULTILINE)
    assert len(lines) == 1, lines
    return [str(TEXT) if word == "input.txt" else word for word in shlex.split(lines[0])]


def test_the_readme_keeps_to_the_budget() -> None:
    words = readme_command()
    flags = dict(zip(words[1::2], words[2::2], strict=True))
    tokens = int(flags["--global-batch-size"]) * int(flags["--context-length"])
    assert (int(flags["--max-steps"]), tokens) == (NUM_STEPS, TOKENS_PER_STEP)
    assert flags["--tokenizer"] == "byte"
    assert (flags["--val-fraction"], flags["--test-fraction"]) == ("0.1", "0")


@pytest.mark.proof
@pytest.mark.data
@pytest.mark.skipif(not TEXT.is_file(), reason=f"no {TEXT}; set HVD_DATA")
def test_tiny_shakespeare_reaches_its_loss(tmp_path: Path) -> None:
    line = command(*readme_command(), "--output-dir", str(tmp_path / "run"))
    subprocess.run(line, env=environment(tmp_path / "cache"), check=True)
    report = Run(tmp_path / "run", 0, "", "").report
    assert report["num_parameters"] <= MOST_PARAMETERS
    assert report["steps"] == NUM_STEPS
    assert report["val"]["num_tokens"] == report["val"]["num_bytes"] == 111_539  # all but the first
    assert report["val"]["loss"] <= MOST_LOSS
