"""Two hosts train what one host trains, whatever each calls its end of the network."""

from __future__ import annotations

import pytest

from hvdcore.controllers import mpi_problem
from hvdcore.testing_elastic import RunOnHosts
from hvdcore.testing_runs import Run

pytestmark = pytest.mark.ranks
MPI = pytest.param(
    "mpi", marks=pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem()))
)


@pytest.mark.parametrize("controller", [MPI, "gloo"])
def test_two_hosts_train_what_one_trains(
    training: RunOnHosts, undisturbed: Run, controller: str
) -> None:
    first = training.network.add("first", "eth0")
    training.network.add("second", "ens7")
    training.start(first, "--controller", controller, "--hosts", "first:1,second:1")
    run = training.finish().check()
    assert run.report["weights_sha256"] == undisturbed.report["weights_sha256"]
    assert run.losses("train") == undisturbed.losses("train")
    assert run.losses("val") == undisturbed.losses("val")
    told = [line for line in run.stderr.splitlines() if line.startswith("host ")]
    assert [line.split(":")[0] for line in told] == ["host first", "host second"]
    assert told[0].endswith("eth0 10.77.1.1")
    assert told[1].endswith("ens7 10.77.1.2")
