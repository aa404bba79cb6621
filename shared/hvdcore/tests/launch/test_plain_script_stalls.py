"""`hvdcore launch --stall-timeout` and a plain Horovod script, which gives no heartbeat."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import horovod_library, mpi_problem
from hvdcore.runtime.environment import horovod_stall_check
from hvdcore.testing.ranks import run_ranks

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(horovod_library() is None, reason="Horovod is not installed"),
]
MPI = pytest.param(
    "mpi", marks=pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem()))
)
PLAIN = """
import sys, time
import numpy as np
import horovod.numpy as hvd

hvd.init()
if hvd.rank() == 1:
    time.sleep(float(sys.argv[1]))
hvd.allreduce(np.ones(1), name="all")
"""
SETTINGS = """
import os
import horovod.numpy as hvd
from hvdcore.runtime.startup import start_horovod
from hvdcore.testing.ranks import save_result

if os.environ.get("MARKED"):
    os.environ["HVDCORE_STALL_CHECK"] = "1"
NAMES = ["HOROVOD_STALL_CHECK_TIME_SECONDS", "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS"]
before, seen = [os.environ.get(name) for name in NAMES], []
init = hvd.init
hvd.init = lambda: seen.extend(os.environ.get(name) for name in NAMES) or init()
start_horovod(hvd)
save_result([before, seen, [os.environ.get(name) for name in NAMES]])
"""


def launched(folder: Path, controller: str, seconds: int) -> tuple[int, str]:
    """A job whose rank 1 sleeps before it comes, with a stall time-out of 4 s."""
    script = folder / "plain.py"
    script.write_text(PLAIN, encoding="utf-8")
    options = ["--np", "2", "--controller", controller, "--stall-timeout", "4"]
    command = [sys.executable, "-m", "hvdcore", "launch", *options]
    process = subprocess.Popen(
        [*command, sys.executable, str(script), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
    )
    try:
        return process.wait(120), process.communicate()[0]
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
            process.wait()


@pytest.mark.parametrize("controller", [MPI, "gloo"])
def test_a_rank_that_does_not_come_ends_the_job(tmp_path: Path, controller: str) -> None:
    code, output = launched(tmp_path, controller, 1000)
    assert code == 1
    assert "gives hvdcore no sign of life" in output
    assert output.count("no sign of life") == 1
    assert output.splitlines()[-1].startswith("rank 0 failed: waited in vain for rank 1 in all")
    assert launched(tmp_path, controller, 1)[0] == 0, "control: one that comes in time"


def test_ranks_with_heartbeats_are_judged_by_these_alone(tmp_path: Path) -> None:
    env = {"MARKED": "1", **horovod_stall_check(7.5)}
    result = run_ranks(SETTINGS, 2, folder=tmp_path, controller="gloo", env=env)
    for before, seen, after in result.check().results.values():
        assert (before, seen, after) == (before, [None, None], before)
    del env["MARKED"]
    result = run_ranks(SETTINGS, 2, folder=tmp_path, controller="gloo", env=env)
    assert [seen for _, seen, _ in result.check().results.values()] == [["4", "8"]] * 2


def test_half_the_time_until_the_warning_in_whole_seconds() -> None:
    assert list(horovod_stall_check(15).values()) == ["8", "15"]
    assert list(horovod_stall_check(0.5).values()) == ["1", "2"]
