"""Stopping and going on equals never having stopped, to the bit."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hvdcore.testing.runs import StoppedRun
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


def stopped(folder: Path, name: str, scenes: Path) -> StoppedRun:
    line = ["train", "--data", str(scenes), "--output-dir", str(folder / name), "--resume", "auto"]
    line = command(*line, *TINY, *FLAGS)
    return StoppedRun(folder / name, line, environment(folder / "cache"), pause=0.3)


def test_a_kill_changes_nothing(folder: Path, scenes: Path, undisturbed: Run) -> None:
    run = stopped(folder, "one", scenes)
    run.kill_at_random(random.Random(1), *SIZE)
    run.finish_as(undisturbed, *SIZE)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(4))
def test_twenty_kills_change_nothing(
    folder: Path, scenes: Path, undisturbed: Run, seed: int
) -> None:
    draw, run = random.Random(100 + seed), stopped(folder, f"twenty{seed}", scenes)
    kills = [run.kill_at_random(draw, *SIZE) for _ in range(5)]
    assert sum(kills) >= 3  # a quick machine may come to the end before a kill does
    run.finish_as(undisturbed, *SIZE)


@pytest.mark.parametrize("size", [1, pytest.param(3, marks=pytest.mark.proof)])
def test_sigterm_saves_and_another_number_of_ranks_goes_on(
    folder: Path, scenes: Path, undisturbed: Run, size: int
) -> None:
    run = stopped(folder, f"sizes{size}", scenes)
    run.terminate_after_a_checkpoint(*SIZE)
    assert max(run.checkpoints()) < "step-00000024"
    resumed = run.finish("--np", str(size))
    assert resumed.report["size"] == size
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
    assert "error: model: the checkpoint was written with 'cnn'" in run.stderr
    assert "Traceback" not in run.stderr
