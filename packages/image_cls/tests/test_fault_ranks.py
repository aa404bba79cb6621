"""One rank of a real training fails in every way there is; the job ends and says who it was."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from hvdcore.launch.job.controllers import mpi_problem
from hvdcore.testing.faults import Fault, check_named, run_with_fault
from hvdcore.testing.ranks import RanksResult
from image_cls.testing import TINY, environment

pytestmark = pytest.mark.ranks

NO_MPI = pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem()))
# The whole table takes minutes; each fault once, and each controller, does not.
TABLE = [
    pytest.param("exception", "mpi", marks=NO_MPI),
    pytest.param("SIGKILL", "gloo"),
    pytest.param("SIGSTOP", "gloo"),
    pytest.param("exception", "gloo", marks=pytest.mark.proof),
    pytest.param("SIGKILL", "mpi", marks=[NO_MPI, pytest.mark.proof]),
    pytest.param("SIGSTOP", "mpi", marks=[NO_MPI, pytest.mark.proof]),
]


@pytest.mark.parametrize(("fault", "controller"), TABLE)
def test_the_rank_is_named_and_all_end(
    tmp_path: Path, scenes: Path, fault: Fault, controller: Literal["mpi", "gloo"]
) -> None:
    check_named(start(tmp_path, scenes, fault, controller), tmp_path, fault)


@pytest.mark.parametrize(
    "controller", ["gloo", pytest.param("mpi", marks=[NO_MPI, pytest.mark.proof])]
)
def test_sigterm_to_one_rank_saves_and_ends_all(
    tmp_path: Path, scenes: Path, controller: Literal["mpi", "gloo"]
) -> None:
    ended = start(tmp_path, scenes, "SIGTERM", controller)
    assert ended.returncode == 143, ended
    assert (tmp_path / "run" / "checkpoints" / "step-00000004").is_dir()
    assert ended.orphans == ()


def start(
    folder: Path, scenes: Path, fault: Fault, controller: Literal["mpi", "gloo"]
) -> RanksResult:
    arguments = ["train", "--data", str(scenes), "--output-dir", str(folder / "run")]
    return run_with_fault(
        "image_cls", "image_cls.data.batches:BatchReader.get_batch",
        [*arguments, *TINY, "--model", "mlp", "--max-steps", "8"],  # it starts faster
        fault=fault, folder=folder, controller=controller, env=environment(folder / "cache"),
    )  # fmt: skip
