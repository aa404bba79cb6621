"""The scripts that the site shows: run on one rank and on two, stopped and resumed."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "infra" / "docs" / "examples"
BIN = Path(sys.executable).parent
TWO = ("-m", "hvdcore", "launch", "--np", "2", sys.executable)

pytestmark = [pytest.mark.proof, pytest.mark.ranks]


def run(*words: str, code: int = 0) -> str:
    """What a command of this environment prints; its exit code must be `code`."""
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(words, env=env, text=True, capture_output=True, timeout=600)
    assert done.returncode == code, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout


def python(*words: str, code: int = 0) -> str:
    return run(sys.executable, *words, code=code)


def losses(text: str) -> list[float]:
    found = [float(value) for value in re.findall(r"loss ([\d.]+)", text)]
    assert found, text
    return found


def digest(text: str) -> str:
    return re.findall(r"weights (\w{64})", text)[0]


def test_every_example_is_run_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [p.name for p in EXAMPLES.glob("*.py") if p.stem not in source] == []


def test_ddp_on_our_side_is_the_same_on_one_rank_and_two() -> None:
    example = str(EXAMPLES / "ddp_after.py")
    one, two = losses(python(example)), losses(python(*TWO, example))
    assert one == pytest.approx(two, abs=1e-5)
    assert len(one) == 3
    assert one[0] > one[-1]


def test_keras_is_the_same_on_one_rank_and_two() -> None:
    example = str(EXAMPLES / "own_keras.py")
    one, two = losses(python(example)), losses(python(*TWO, example))
    assert one == pytest.approx(two, abs=1e-4)


def test_a_script_of_horovod_runs_unchanged() -> None:
    example = str(EXAMPLES / "horovod_pytorch.py")
    one = losses(python(example))
    two = losses(run("horovodrun", "-np", "2", sys.executable, example))
    assert len(one) == len(two) == 3
    assert two[0] > two[-1]


def test_own_pytorch_stopped_and_resumed_is_the_whole_run(tmp_path: Path) -> None:
    example = str(EXAMPLES / "own_pytorch.py")
    whole = python(*TWO, example, "--output-dir", str(tmp_path / "whole"))
    stopped = (*TWO, example, "--output-dir", str(tmp_path / "stopped"))
    python(*stopped, "--stop-after", "11", code=143)
    resumed = python(*stopped, "--resume", "auto")
    assert len(losses(resumed)) == len(losses(whole)) - 11
    assert digest(resumed) == digest(whole)
    shorter = python(*TWO, example, "--output-dir", str(tmp_path / "c"), "--max-steps", "23")
    assert digest(shorter) != digest(whole)


def test_own_keras_killed_in_mid_epoch_and_resumed_is_the_whole_run(tmp_path: Path) -> None:
    example = str(EXAMPLES / "own_keras_resume.py")
    whole = python(*TWO, example, "--output-dir", str(tmp_path / "whole"))
    stopped = (*TWO, example, "--output-dir", str(tmp_path / "stopped"))
    killed = python(*stopped, "--kill-after", "17", code=1)  # the last step but one of epoch 2
    resumed = python(*stopped, "--resume", "auto")
    assert (tmp_path / "stopped" / "model" / "model.keras").is_file()
    assert losses(killed) + losses(resumed) == losses(whole)
    assert len(losses(resumed)) == 2
    assert digest(resumed) == digest(whole)


def test_a_loader_reads_the_same_on_one_rank_and_two() -> None:
    example = str(EXAMPLES / "own_loader.py")
    one, two = python(example), python(*TWO, example)
    assert losses(one) == pytest.approx(losses(two), abs=1e-5)
    assert len(losses(one)) == 3


def test_own_pytorch_is_the_same_on_one_rank_and_two(tmp_path: Path) -> None:
    example = str(EXAMPLES / "own_pytorch.py")
    one = losses(python(example, "--output-dir", str(tmp_path / "1")))
    assert "step 24: " in python(str(EXAMPLES / "own_pytorch_load.py"), str(tmp_path / "1"))
    two = losses(python(*TWO, example, "--output-dir", str(tmp_path / "2")))
    assert one == pytest.approx(two, abs=1e-5)


def test_the_other_side_of_ddp_runs() -> None:
    found = losses(run("torchrun", "--nproc-per-node", "2", str(EXAMPLES / "ddp_before.py")))
    assert found[0] > found[-1]


@pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None or shutil.which("accelerate") is None,
    reason="accelerate is not installed",
)
def test_the_other_side_of_accelerate_runs() -> None:
    words = ("accelerate", "launch", "--cpu", "--num_processes", "2")
    found = losses(run(*words, str(EXAMPLES / "accelerate_before.py")))
    assert found[0] > found[-1]


def test_the_other_side_of_multiworker_runs() -> None:
    assert losses(python(str(EXAMPLES / "multiworker_before.py")))[0] < 0.6
