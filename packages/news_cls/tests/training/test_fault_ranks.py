"""One rank of a real training fails in every way there is; the job ends and says who it was."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from hvdcore.launch.job.controllers import mpi_problem
from hvdcore.testing.faults import Fault, check_named, run_with_fault
from hvdcore.testing.ranks import RanksResult
from news_cls.testing import TINY, environment

pytestmark = pytest.mark.ranks

NO_MPI = pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem()))
# The whole table takes minutes; each fault once, and each controller, does not.
TABLE = [
    pytest.param("exception", "gloo"),
    pytest.param("SIGKILL", "mpi", marks=NO_MPI),
    pytest.param("SIGSTOP", "mpi", marks=[NO_MPI, pytest.mark.proof]),
    pytest.param("exception", "mpi", marks=[NO_MPI, pytest.mark.proof]),
    pytest.param("SIGKILL", "gloo", marks=pytest.mark.proof),
    pytest.param("SIGSTOP", "gloo", marks=pytest.mark.proof),
]
TRAINING = "news_cls.training.task:TextTask.get_batch"
PRETRAINING = "news_cls.training.pretrain:LanguageModel.step"
FLAGS = {
    TRAINING: ("--model", "cnn", "--pretrain-epochs", "0"),  # it starts faster
    PRETRAINING: (),
}


@pytest.mark.parametrize(("fault", "controller"), TABLE)
def test_the_rank_is_named_and_all_end(
    tmp_path: Path, texts: Path, fault: Fault, controller: Literal["mpi", "gloo"]
) -> None:
    check_named(start(tmp_path, texts, fault, controller), tmp_path, fault)


def test_a_fault_in_pretraining_is_named_too(tmp_path: Path, texts: Path) -> None:
    check_named(start(tmp_path, texts, "exception", "gloo", PRETRAINING), tmp_path, "exception")


def test_sigterm_in_pretraining_saves_and_ends_all(tmp_path: Path, texts: Path) -> None:
    ended = start(tmp_path, texts, "SIGTERM", "gloo", PRETRAINING)
    assert ended.returncode == 143, ended
    checkpoints = tmp_path / "run" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["pretraining"]
    assert list((checkpoints / "pretraining").glob("step-*"))
    assert ended.orphans == ()


def test_sigterm_to_one_rank_saves_and_ends_all(tmp_path: Path, texts: Path) -> None:
    ended = start(tmp_path, texts, "SIGTERM", "gloo")
    assert ended.returncode == 143, ended
    assert (tmp_path / "run" / "checkpoints" / "step-00000004").is_dir()
    assert ended.orphans == ()


def start(
    folder: Path,
    texts: Path,
    fault: Fault,
    controller: Literal["mpi", "gloo"],
    method: str = TRAINING,
) -> RanksResult:
    arguments = ["train", "--data", str(texts), "--output-dir", str(folder / "run")]
    return run_with_fault(
        "news_cls", method, [*arguments, *TINY, *FLAGS[method], "--max-steps", "8"],
        fault=fault, folder=folder, controller=controller, env=environment(folder / "cache"),
    )  # fmt: skip
