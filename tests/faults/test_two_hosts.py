"""The same job over two hosts, which see each other only through a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import pytest

from hvdcore.launch.job.controllers import horovod_library, mpi_problem
from hvdcore.testing.hosts import TestNetwork, missing_for_hosts
from hvdcore.testing.ranks import RanksResult, run_ranks

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(horovod_library() is None, reason="Horovod is not installed"),
    pytest.mark.skipif(bool(missing_for_hosts()), reason=missing_for_hosts()),
]
STEPS = Path(__file__).with_name("steps.py")
MPI = pytest.param(
    "mpi", marks=pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem()))
)


def run(folder: Path, controller: Literal["mpi", "gloo"], fault: str) -> RanksResult:
    command = [sys.executable, str(STEPS), fault, "1", "8", str(folder / "saved")]
    with TestNetwork(folder / "network") as network:
        first = network.add("first", "eth0")
        network.add("second", "ens7")
        return run_ranks(
            command,
            2,
            folder=folder,
            controller=controller,
            hosts="first:1,second:1",
            timeout=400,
            stall_timeout=20,
            env={"PATH": network.path},
            within=first.inside(folder),
        )


def said(result: RanksResult) -> list[str]:
    """What stderr holds after the lines about the hosts."""
    return [line for line in result.stderr.splitlines() if not line.startswith("host ")]


@pytest.mark.parametrize("controller", [MPI, "gloo"])
def test_a_rank_on_another_host_is_named(
    tmp_path: Path, controller: Literal["mpi", "gloo"]
) -> None:
    result = run(tmp_path, controller, "SIGKILL")
    log = tmp_path / "logs" / "rank-1.log"
    assert said(result) == [f"rank 1 was killed by SIGKILL (log: {log})"]
    assert (result.returncode, result.orphans) == (1, ())


def test_sigterm_to_a_rank_on_another_host(tmp_path: Path) -> None:
    result = run(tmp_path, "gloo", "SIGTERM")
    assert (result.returncode, said(result), result.orphans) == (143, [], ())
    assert (tmp_path / "saved").read_text(encoding="utf-8") == "saved at step 9"
