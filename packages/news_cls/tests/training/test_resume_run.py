"""Stopping and going on equals never having stopped, to the bit."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from hvdcore.testing.runs import StoppedRun, rank_pids
from news_cls.testing import TINY, Run, command, environment, train

pytestmark = pytest.mark.ranks

# An epoch is 5 steps, so most checkpoints lie within one.
FLAGS = ("--max-steps", "24", "--eval-every", "12", "--checkpoint-every", "1")
SIZE = ("--np", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def undisturbed(folder: Path, texts: Path) -> Run:
    return train(folder / "undisturbed", texts, *FLAGS, *SIZE).check()


def stopped(folder: Path, name: str, texts: Path) -> StoppedRun:
    line = ["train", "--data", str(texts), "--output-dir", str(folder / name), "--resume", "auto"]
    line = command(*line, *TINY, *FLAGS)
    return StoppedRun(folder / name, line, environment(folder / "cache"), pause=0.1)


def test_a_kill_changes_nothing(folder: Path, texts: Path, undisturbed: Run) -> None:
    run = stopped(folder, "one", texts)
    run.kill_at_random(random.Random(1), *SIZE)
    run.finish_as(undisturbed, *SIZE)


# That SIGTERM saves in pretraining is test_fault_ranks's.
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.proof)]
)
def test_pretraining_goes_on_too(
    folder: Path, texts: Path, undisturbed: Run, how: signal.Signals
) -> None:
    run = stopped(folder, how.name, texts)
    process = run.start(*SIZE)
    run.wait_for("pretraining/step-*", process)
    os.kill(rank_pids(process)[0], how)
    process.communicate(timeout=300)
    assert process.returncode == (1 if how == signal.SIGKILL else 143)
    assert run.checkpoints() == set()
    config = (run.path / "config.json").read_bytes()
    refused = train(run.path, texts, *FLAGS, *SIZE, "--resume", "auto", "--seed", "5")
    assert refused.returncode == 2
    assert "error: seed: the checkpoint was written with 0" in refused.stderr
    assert (run.path / "config.json").read_bytes() == config
    run.finish_as(undisturbed, *SIZE)
    log = (run.path / "logs" / "rank-0.log").read_text(encoding="utf-8")
    assert "pretraining: resuming from step " in log
    assert run.checkpoints("pretraining") == set()


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(4))
def test_twenty_kills_change_nothing(
    folder: Path, texts: Path, undisturbed: Run, seed: int
) -> None:
    draw, run = random.Random(100 + seed), stopped(folder, f"twenty{seed}", texts)
    kills = [run.kill_at_random(draw, *SIZE) for _ in range(5)]
    assert sum(kills) >= 2  # a quick machine may come to the end before a kill does
    run.finish_as(undisturbed, *SIZE)


@pytest.mark.parametrize("size", [1, pytest.param(3, marks=pytest.mark.proof)])
def test_sigterm_saves_and_another_number_of_ranks_goes_on(
    folder: Path, texts: Path, undisturbed: Run, size: int
) -> None:
    run = stopped(folder, f"sizes{size}", texts)
    run.terminate_after_a_checkpoint(*SIZE)
    assert max(run.checkpoints()) < "step-00000024"
    resumed = run.finish("--np", str(size))
    assert resumed.report["size"] == size
    # Equal losses at every step, within rounding: the batches were the same.
    assert resumed.losses("train") == pytest.approx(undisturbed.losses("train"), rel=1e-3)
    assert resumed.losses("val") == pytest.approx(undisturbed.losses("val"), rel=1e-3)


def test_a_checkpoint_of_another_model_is_refused(
    folder: Path, texts: Path, undisturbed: Run
) -> None:
    run = train(
        folder / "other", texts, *FLAGS, "--model", "cnn", "--resume", str(undisturbed.path)
    )
    assert run.returncode == 2, run.stderr
    assert "error: model: the checkpoint was written with 'gru'" in run.stderr
    assert "Traceback" not in run.stderr
