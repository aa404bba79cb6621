"""Stopping and going on equals never having stopped, to the bit."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from image_cls.testing import TINY, Run, command, environment, train

pytestmark = pytest.mark.ranks

# An epoch is 5 steps, so most checkpoints lie within one.
FLAGS = ("--max-steps", "24", "--eval-every", "12", "--checkpoint-every", "1")
SIZE = ("--np", "2")
SECONDS = 900


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def undisturbed(folder: Path, scenes: Path) -> Run:
    return train(folder / "undisturbed", scenes, *FLAGS, *SIZE).check()


def start(run_dir: Path, scenes: Path, *flags: str) -> subprocess.Popen[str]:
    line = ["train", "--data", str(scenes), "--output-dir", str(run_dir), "--resume", "auto"]
    return subprocess.Popen(
        command(*line, *TINY, *FLAGS, *flags),
        env=environment(run_dir.parent / "cache"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def checkpoints(run_dir: Path, pattern: str = "step-*") -> set[str]:
    return {path.name for path in (run_dir / "checkpoints").glob(pattern)}


def wait_for(run_dir: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Until a checkpoint appears that was not there, or the run ends."""
    before = checkpoints(run_dir, pattern)
    while process.poll() is None and not checkpoints(run_dir, pattern) - before:
        time.sleep(0.001)


def rank_pids(launcher: subprocess.Popen[str]) -> list[int]:
    family = psutil.Process(launcher.pid).children(recursive=True)
    return [p.pid for p in family if "HVDCORE_SUPERVISED" in p.environ()]


def kill_at_random(run_dir: Path, scenes: Path, draw: random.Random) -> None:
    """Start or go on, and SIGKILL one rank at a random moment, or while a checkpoint is written."""
    process = start(run_dir, scenes, *SIZE)
    wait_for(run_dir, "step-*", process)
    if draw.random() < 0.5:
        wait_for(run_dir, ".writing-*", process)
    else:
        time.sleep(draw.uniform(0.0, 0.3))
    for pid in draw.sample(pids := rank_pids(process), k=min(1, len(pids))):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode in (0, 1), stderr
    if process.returncode == 1:
        assert "killed by SIGKILL" in stderr


def finish_and_compare(run_dir: Path, scenes: Path, undisturbed: Run) -> None:
    process = start(run_dir, scenes, *SIZE)
    _, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, stderr
    resumed = Run(run_dir, 0, "", stderr)
    assert resumed.report["weights_sha256"] == undisturbed.report["weights_sha256"]
    assert resumed.losses("train") == undisturbed.losses("train")
    assert resumed.losses("val") == undisturbed.losses("val")


def test_a_kill_changes_nothing(folder: Path, scenes: Path, undisturbed: Run) -> None:
    kill_at_random(folder / "one", scenes, random.Random(1))
    finish_and_compare(folder / "one", scenes, undisturbed)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(4))
def test_twenty_kills_change_nothing(
    folder: Path, scenes: Path, undisturbed: Run, seed: int
) -> None:
    draw = random.Random(100 + seed)
    for _ in range(5):
        kill_at_random(folder / f"twenty{seed}", scenes, draw)
    finish_and_compare(folder / f"twenty{seed}", scenes, undisturbed)


def test_sigterm_saves_and_another_number_of_ranks_goes_on(
    folder: Path, scenes: Path, undisturbed: Run
) -> None:
    run_dir = folder / "sizes"
    process = start(run_dir, scenes, *SIZE)
    wait_for(run_dir, "step-*", process)
    process.terminate()
    _, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 143, stderr
    assert max(checkpoints(run_dir)) < "step-00000024"
    process = start(run_dir, scenes, "--np", "3")
    _, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, stderr
    resumed = Run(run_dir, 0, "", stderr)
    assert resumed.report["size"] == 3
    # Equal losses at every step, within rounding: the batches were the same.
    assert resumed.losses("train") == pytest.approx(undisturbed.losses("train"), rel=1e-3)
    assert resumed.losses("val") == pytest.approx(undisturbed.losses("val"), rel=1e-3)


def test_a_checkpoint_of_another_model_is_refused(
    folder: Path, scenes: Path, undisturbed: Run
) -> None:
    run = train(
        folder / "other", scenes, *FLAGS, "--model", "logreg", "--resume", str(undisturbed.path)
    )
    assert run.returncode == 2, run.stderr
    assert run.stderr.startswith("error: model: the checkpoint was written with 'cnn'")
    assert "Traceback" not in run.stderr
