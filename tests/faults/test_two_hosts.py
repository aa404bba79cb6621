"""The same job over two hosts, which see each other only through a network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hvdcore.controllers import horovod_extensions, mpi_problem
from hvdcore.testing import RanksResult, run_ranks

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif("torch" not in horovod_extensions(), reason="Horovod for torch is missing"),
]
STEPS = Path(__file__).with_name("steps.py")
CONTROLLERS = [
    pytest.param("mpi", marks=pytest.mark.skipif(mpi_problem() is not None, reason="no MPI")),
    "gloo",
]


def run(folder: Path, where: tuple[str, str], controller: str, fault: str) -> RanksResult:
    command = [sys.executable, str(STEPS), fault, "1", "8", str(folder / "saved")]
    return run_ranks(
        command,
        2,
        folder=folder,
        controller=controller,  # type: ignore[arg-type]
        hosts=where[0],
        timeout=400,
        stall_timeout=20,
        env={"PATH": where[1]},
    )


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_rank_on_another_host_is_named(
    tmp_path: Path, two_hosts: tuple[str, str], controller: str
) -> None:
    result = run(tmp_path, two_hosts, controller, "SIGKILL")
    log = tmp_path / "logs" / "rank-1.log"
    assert result.stderr == f"rank 1 was killed by SIGKILL (log: {log})\n"
    assert (result.returncode, result.orphans) == (1, ())


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_sigterm_to_a_rank_on_another_host(
    tmp_path: Path, two_hosts: tuple[str, str], controller: str
) -> None:
    result = run(tmp_path, two_hosts, controller, "SIGTERM")
    assert (result.returncode, result.stderr, result.orphans) == (143, "", ())
    assert (tmp_path / "saved").read_text(encoding="utf-8") == "saved at step 9"
