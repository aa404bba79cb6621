"""One rank of a real training fails in every way there is; the job ends and says who it was."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import pytest

from hvdcore.controllers import mpi_problem
from hvdcore.testing import RanksResult, run_ranks
from image_cls.testing import TINY, environment

pytestmark = pytest.mark.ranks

FAULTY = Path(__file__).parent / "programs" / "faulty.py"
# Only the silent fault needs the watchdog; a busy machine is silent for long as it starts.
STALL_SECONDS = 20.0
LINES = {
    "exception": "rank 1 failed: ValueError: this batch is broken",
    "SIGKILL": "rank 1 was killed by SIGKILL",
    "SIGSTOP": "rank 1 stopped by a signal for more than 20 s",
}
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
    tmp_path: Path, scenes: Path, fault: str, controller: Literal["mpi", "gloo"]
) -> None:
    ended = start(tmp_path, scenes, fault, controller)
    assert ended.returncode == 1, ended
    log = tmp_path / "logs" / "rank-1.log"
    lines = [line for line in ended.stderr.splitlines() if line.startswith("rank ")]
    assert lines == [f"{LINES[fault]} (log: {log})"], ended
    assert ended.orphans == ()


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
    folder: Path, scenes: Path, fault: str, controller: Literal["mpi", "gloo"]
) -> RanksResult:
    """The fault in step 3 of rank 1, of 8 steps on 2 ranks."""
    command = [
        sys.executable, str(FAULTY), fault, "1", "3", "train", "--data", str(scenes),
        "--output-dir", str(folder / "run"), *TINY, "--max-steps", "8",
    ]  # fmt: skip
    stall = STALL_SECONDS if fault == "SIGSTOP" else 600.0
    return run_ranks(
        command, 2, folder=folder, controller=controller, timeout=900, stall_timeout=stall,
        env=environment(folder / "cache"),
    )  # fmt: skip
