"""No value of the environment stands in a command line or a log of a job on several hosts, and
every rank has them all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import mpi_problem
from hvdcore.testing.hosts import TestNetwork
from hvdcore.testing.runs import RunOnHosts, ranks_environment
from hvdcore.testing.secrets import MARK, SECRETS, CommandLines, files_holding

pytestmark = pytest.mark.ranks
MPI = pytest.param(
    "mpi", marks=pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem()))
)
RANK = """
import json, os, pathlib, sys, time
rank = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ["HOROVOD_RANK"]
time.sleep(0.5)
pathlib.Path(sys.argv[1], f"environment-{rank}.json").write_text(json.dumps(dict(os.environ)))
"""


def start(network: TestNetwork, folder: Path, controller: str, *words: str) -> RunOnHosts:
    ranks = folder / "ranks"
    ranks.mkdir()
    command = [sys.executable, "-c", RANK, str(ranks), *words]
    launcher = folder / "launcher"
    launcher.mkdir()
    job = RunOnHosts(network, launcher, ranks, command, ranks_environment(SECRETS))
    first = network.add("first", "eth0")
    network.add("second", "ens7")
    job.list_hosts("first", "second")
    where = ["--hosts", "first:1,second:1", "--controller", controller]
    if controller == "elastic":
        where = ["--min-np", "2", "--host-discovery-script", str(job.script)]
    job.start(first, *where, "--log-dir", str(folder / "logs"))
    return job


@pytest.mark.parametrize("controller", [MPI, "gloo", "elastic"])
def test_no_value_is_seen(tmp_path: Path, network: TestNetwork, controller: str) -> None:
    with CommandLines() as lines:
        run = start(network, tmp_path, controller).finish().check()
    environments = [
        json.loads((run.path / f"environment-{rank}.json").read_text("utf-8")) for rank in range(2)
    ]
    for environment in environments:  # they have arrived, each as it was
        assert {name: environment.get(name) for name in SECRETS} == SECRETS
    assert lines.holding("launch.supervisor.supervise")
    assert lines.holding(MARK) == []
    assert files_holding(MARK, tmp_path / "launcher", tmp_path / "logs", tmp_path / "network") == []


def test_control_a_word_of_the_command_is_seen(tmp_path: Path, network: TestNetwork) -> None:
    with CommandLines() as lines:
        start(network, tmp_path, "gloo", MARK).finish().check()
    assert lines.holding(MARK)
