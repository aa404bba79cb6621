"""`FitCheckpoints`: `fit` killed in the middle of an epoch goes on as if it had not been."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hvdcore.testing.ranks import run_ranks

pytestmark = pytest.mark.ranks

Start = Callable[..., list[dict[str, Any]]]
PROGRAM = [sys.executable, str(Path(__file__).parent / "programs" / "fit_resume.py"), "killed"]
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"}


@pytest.fixture(scope="module")
def compared(start: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    """What one rank and two say of their killed trainings; one also resumes one of two."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    env = {**os.environ, **QUIET}
    ended = subprocess.run([*PROGRAM, str(one)], env=env, capture_output=True, timeout=300)
    assert ended.returncode == -9, ended.stderr.decode()
    work = tmp_path_factory.mktemp("work")
    run = run_ranks([*PROGRAM, str(two)], 2, folder=work, controller="gloo", env=QUIET)
    assert run.returncode != 0
    assert (two / "killed" / "checkpoints").is_dir(), run.stdout + run.stderr
    other = tmp_path_factory.mktemp("other") / "run"
    shutil.copytree(two / "stopped", other)
    return {
        2: start(2, "mpi", "fit_resume.py", "compare", str(two)),
        1: start(1, "mpi", "fit_resume.py", "compare", str(one), str(other)),
    }


@pytest.mark.parametrize("size", [1, 2])
def test_killed_and_resumed_is_the_whole_training(
    compared: dict[int, list[Any]], size: int
) -> None:
    # Dropout, batch normalization, an average of the weights, a schedule, noise in the data.
    for rank in compared[size]:
        whole, resumed = rank["whole"], rank["resumed"]
        assert resumed["began"] in ([1, 2], [1, 5])  # after step 9 or 12 of 7 an epoch
        assert resumed["weights"] == whole["weights"]
        assert resumed["history"] == {k: v[1:] for k, v in whole["history"].items()}
        assert resumed["saved"] == whole["saved"] == [21, 168]


@pytest.mark.parametrize("size", [1, 2])
def test_control_a_forgotten_position_is_another_training(
    compared: dict[int, list[Any]], size: int
) -> None:
    for rank in compared[size]:
        assert rank["forgot"]["began"] == rank["resumed"]["began"]
        assert rank["forgot"]["weights"] != rank["whole"]["weights"]


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("kind", ["plain", "upstream"])
def test_stopped_and_resumed_is_the_whole_training(
    compared: dict[int, list[Any]], size: int, kind: str
) -> None:
    """Also with the optimizer and the callbacks of `horovod.keras`."""
    for rank in compared[size]:
        assert rank[f"resumed-{kind}"]["began"][0] == 1
        assert rank[f"resumed-{kind}"]["began"][1] > 3
        assert rank[f"resumed-{kind}"]["weights"] == rank[kind]["weights"]


def test_one_rank_resumes_what_two_began(compared: dict[int, list[Any]]) -> None:
    other, whole = compared[1][0]["other"], compared[1][0]["plain"]
    assert other["values"] == pytest.approx(whole["values"], abs=2e-5)
    losses = other["history"]["loss"]
    assert losses == pytest.approx(whole["history"]["loss"][1:], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("data", "num_samples: the checkpoint was written with 52, this run asks for 44"),
        ("model", "model: the checkpoint was written with 8 variables, not these 4"),
        ("epoch", "initial_epoch: fit begins with epoch 0, but the data with epoch 3"),
        ("steps", "fit: it makes 2 steps an epoch, and train has 7"),
        ("passes", "every_steps: 3 is not a multiple of the 2 batches that the optimizer adds up"),
        ("shuffle", "shuffle: fit shuffles the batches of TrainShard; give shuffle=False"),
    ],
)
def test_another_training_is_refused(compared: dict[int, list[Any]], name: str, words: str) -> None:
    assert words in compared[1][0]["refused"][name]
