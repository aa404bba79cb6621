"""The SkyPilot task: SkyPilot reads it, and what it runs on a rented machine trains here."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml

from hvdcore.testing.runs import ranks_environment, run_command
from textgen.testing import TINY, write_book

TASK = Path(__file__).resolve().parents[2] / "cloud" / "skypilot.yaml"
READ = "import sys, sky; print(sky.Task.from_yaml(sys.argv[1]).name)"


@pytest.fixture(scope="module")
def task() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(TASK.read_text("utf-8"))
    return found


def test_the_setup_is_a_shell_script(task: dict[str, Any]) -> None:
    subprocess.run(["bash", "-n", "-c", task["setup"]], check=True)


@pytest.mark.ranks
def test_what_it_runs_trains(task: dict[str, Any], tmp_path: Path) -> None:
    program = tmp_path / "venv" / "bin" / "textgen"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m textgen "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    book = write_book(tmp_path / "book.txt", num_words=2000)
    flags = " ".join([*TINY, "--max-steps", "8", "--checkpoint-every", "4"])
    env = {"HOME": str(tmp_path), "DATA": str(book), "FLAGS": flags}
    env |= {"SKYPILOT_NUM_GPUS_PER_NODE": "0", "TEXTGEN_CACHE": str(tmp_path / "cache")}
    command = ["bash", "-c", task["run"]]
    run = run_command(tmp_path / "runs/books", command, ranks_environment(env), 300).check()
    assert run.report["steps"] == 8
    assert run.report["size"] == 2


@pytest.mark.proof
def test_skypilot_reads_it(tmp_path: Path) -> None:
    """In an environment of its own: it brings some eighty packages."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "skypilot>=0.14"], check=True)
    env = ranks_environment({"HOME": str(tmp_path), "PYTHONPATH": ""})
    read = [python, "-c", READ, str(TASK)]
    done = subprocess.run(read, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("books"), done.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(TASK.read_text("utf-8").replace("idle_minutes", "idle_hours"), "utf-8")
    done = subprocess.run([*read[:-1], str(wrong)], env=env, capture_output=True, text=True)
    assert "idle_hours" in done.stderr + done.stdout, done
