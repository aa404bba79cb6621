"""One rank fails in every way there is; the job ends, says who it was, and leaves nothing.

Each job is a real one: `steps.py` on two ranks, with an allreduce in each step.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import horovod_library, mpi_problem
from hvdcore.testing.ranks import RanksResult, StartedRanks, start_ranks

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(horovod_library() is None, reason="Horovod is not installed"),
]
STEPS = Path(__file__).with_name("steps.py")
# The ranks load no framework: one that is well is never silent for so long, however busy the
# machine.
STALL_SECONDS = 8.0
# Far above what a job takes: it has to end by itself, and a busy machine is slow.
LIMIT_SECONDS = 400.0

NO_MPI = pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem()))
LAUNCHERS = [
    pytest.param(("hvdcore", "mpi"), id="launch-mpi", marks=NO_MPI),
    pytest.param(("hvdcore", "gloo"), id="launch-gloo"),
    pytest.param(("mpirun", "mpi"), id="mpirun", marks=NO_MPI),
    pytest.param(("horovodrun", "gloo"), id="horovodrun-gloo"),
]
OURS = LAUNCHERS[:2]
LINES = {
    "exception": "rank 1 failed: ValueError: this batch is broken (log: {log})",
    "SIGKILL": "rank 1 was killed by SIGKILL (log: {log})",
    "SIGSTOP": "rank 1 stopped by a signal for more than 8 s (log: {log})",
    "hang": "rank 1 hung: no heartbeat for 8 s in phase 'compute' of step 8 (log: {log})",
}
# SIGSTOP and hang are found by waiting; under plain launchers, by the same supervisor: long forms.
TABLE = [
    pytest.param(
        *how.values, fault, id=f"{fault}-{how.id}",
        marks=[*how.marks, *([pytest.mark.proof] * (fault in ("SIGSTOP", "hang") and place > 1))],
    )
    for fault in LINES
    for place, how in enumerate(LAUNCHERS)
]  # fmt: skip


def start(folder: Path, how: tuple[str, str], fault: str = "none") -> StartedRanks:
    command = [sys.executable, str(STEPS), fault, "1", "8", str(folder / "saved")]
    return start_ranks(
        command,
        2,
        folder=folder,
        launcher=how[0],  # type: ignore[arg-type]
        controller=how[1],  # type: ignore[arg-type]
        stall_timeout=STALL_SECONDS,
    )


def run(folder: Path, how: tuple[str, str], fault: str) -> RanksResult:
    return start(folder, how, fault).wait(LIMIT_SECONDS)


def reach_step_3(job: StartedRanks) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while "step 3 reached" not in job.read("stdout"):
        assert job.process.poll() is None, job.read("stderr")
        assert time.monotonic() < deadline
        time.sleep(0.1)


def culprits(result: RanksResult) -> list[str]:
    """The lines that name a rank, without what launchers put before them."""
    lines = [line.partition("<stderr>:")[2] or line for line in result.stderr.splitlines()]
    return [line for line in lines if line.startswith("rank ")]


@pytest.mark.parametrize(("how", "fault"), TABLE)
def test_the_rank_is_named_and_all_end(tmp_path: Path, how: tuple[str, str], fault: str) -> None:
    result = run(tmp_path, how, fault)
    assert result.returncode == 1, result
    assert culprits(result) == [LINES[fault].format(log=tmp_path / "logs" / "rank-1.log")], result
    assert "Traceback" not in result.stderr or how[0] == "horovodrun"
    assert ("ValueError" in result.logs[1]) is (fault == "exception")
    assert result.orphans == ()


@pytest.mark.parametrize("how", LAUNCHERS)
def test_sigterm_to_one_rank_saves_and_ends_all(tmp_path: Path, how: tuple[str, str]) -> None:
    result = run(tmp_path, how, "SIGTERM")
    assert result.returncode == 143, result
    assert (tmp_path / "saved").read_text(encoding="utf-8") == "saved at step 9"
    assert culprits(result) == []
    assert result.orphans == ()


@pytest.mark.parametrize("how", OURS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_launcher_saves_and_ends_all(
    tmp_path: Path, how: tuple[str, str], number: int, code: int
) -> None:
    job = start(tmp_path, how)
    reach_step_3(job)
    os.kill(job.process.pid, number)
    result = job.wait(LIMIT_SECONDS)
    assert result.returncode == code, result
    assert (tmp_path / "saved").exists()
    assert result.stderr == ""
    assert result.orphans == ()


@pytest.mark.parametrize("how", OURS)
def test_sigkill_to_the_launcher_leaves_nothing(tmp_path: Path, how: tuple[str, str]) -> None:
    job = start(tmp_path, how)
    reach_step_3(job)
    job.process.kill()
    assert job.wait(LIMIT_SECONDS).orphans == ()


@pytest.mark.parametrize("how", OURS)
@pytest.mark.parametrize(
    ("fault", "line"),
    [("kill-supervisor", "rank 1 is gone"), ("stop-supervisor", "rank 1 does not answer for 8 s")],
)
def test_a_supervisor_that_fails_itself(
    tmp_path: Path, how: tuple[str, str], fault: str, line: str
) -> None:
    result = run(tmp_path, how, fault)
    assert result.returncode == 1, result
    assert culprits(result)[0].startswith(line), result
    assert "rank-1.log" in culprits(result)[0]
    assert result.orphans == ()


@pytest.mark.parametrize("how", LAUNCHERS[2:])
@pytest.mark.parametrize("fault", ["kill-supervisor", "stop-supervisor"])
def test_a_supervisor_that_fails_under_a_plain_launcher(
    tmp_path: Path, how: tuple[str, str], fault: str
) -> None:
    result = run(tmp_path, how, fault)
    assert result.returncode != 0
    assert result.orphans == ()
    if fault == "stop-supervisor":
        assert "rank 1: its supervisor was stopped by a signal for more than 8 s" in result.stderr


def test_a_healthy_job_is_left_alone(tmp_path: Path) -> None:
    """The control: with no fault the same job goes on until it is stopped, and names nobody."""
    job = start(tmp_path, ("hvdcore", "gloo"))
    reach_step_3(job)
    time.sleep(STALL_SECONDS + 5)
    assert job.process.poll() is None
    os.kill(job.process.pid, signal.SIGTERM)
    result = job.wait(LIMIT_SECONDS)
    assert (result.returncode, result.stderr) == (143, "")
