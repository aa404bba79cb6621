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
    # Gloo asks each host for the address of its own name, which on one machine is the same one.
    pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem())),
]
STEPS = Path(__file__).with_name("steps.py")


def run(folder: Path, where: tuple[str, str], fault: str) -> RanksResult:
    command = [sys.executable, str(STEPS), fault, "1", "8", str(folder / "saved")]
    return run_ranks(
        command,
        2,
        folder=folder,
        controller="mpi",
        hosts=where[0],
        timeout=400,
        stall_timeout=20,
        env={"PATH": where[1]},
    )


def test_a_rank_on_another_host_is_named(tmp_path: Path, two_hosts: tuple[str, str]) -> None:
    result = run(tmp_path, two_hosts, "SIGKILL")
    log = tmp_path / "logs" / "rank-1.log"
    assert result.stderr == f"rank 1 was killed by SIGKILL (log: {log})\n"
    assert (result.returncode, result.orphans) == (1, ())


def test_sigterm_to_a_rank_on_another_host(tmp_path: Path, two_hosts: tuple[str, str]) -> None:
    result = run(tmp_path, two_hosts, "SIGTERM")
    assert (result.returncode, result.stderr, result.orphans) == (143, "", ())
    assert (tmp_path / "saved").read_text(encoding="utf-8") == "saved at step 9"
