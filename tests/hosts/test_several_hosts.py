"""Several hosts train what one host trains, whatever each calls its end of the network."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hvdcore.launch.job.controllers import mpi_problem
from hvdcore.testing.hosts import TestNetwork, missing_for_delays
from hvdcore.testing.runs import Run, RunOnHosts

pytestmark = pytest.mark.ranks
MPI = pytest.param(
    "mpi", marks=pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem()))
)
FLAGS = ("--max-steps", "12", "--eval-every", "6", "--checkpoint-every", "6", "--log-every", "1")
HOSTS = ("first", "second", "third", "fourth")


def require_same(run: Run, other: Run) -> None:
    assert run.report["weights_sha256"] == other.report["weights_sha256"]
    assert run.losses("train") == other.losses("train")
    assert run.losses("val") == other.losses("val")


@pytest.mark.parametrize("controller", [MPI, "gloo"])
def test_two_hosts_match_a_single_host(
    training: RunOnHosts, undisturbed: Run, controller: str
) -> None:
    first = training.network.add("first", "eth0")
    training.network.add("second", "ens7")
    training.start(first, "--controller", controller, "--hosts", "first:1,second:1")
    run = training.finish().check()
    require_same(run, undisturbed)
    lines = [line for line in run.stderr.splitlines() if line.startswith("host ")]
    assert [line.split(":")[0] for line in lines] == ["host first", "host second"]
    assert lines[0].endswith("eth0 10.77.1.1")
    assert lines[1].endswith("ens7 10.77.1.2")


def test_keras_on_two_hosts_matches_a_single_host(
    network: TestNetwork,
    make_training: Callable[..., RunOnHosts],
    run_undisturbed: Callable[[str], Run],
) -> None:
    first = network.add("first", "eth0")
    network.add("second", "ens7")
    training = make_training("image_cls", "run")
    training.start(first, "--hosts", "first:1,second:1")
    require_same(training.finish().check(), run_undisturbed("image_cls"))


@pytest.mark.proof
@pytest.mark.parametrize("controller", [MPI, "gloo"])
@pytest.mark.parametrize("trainer", ["textgen", "image_cls", "news_cls"])
def test_four_hosts_match_a_single_host(
    network: TestNetwork, make_training: Callable[..., RunOnHosts], trainer: str, controller: str
) -> None:
    """Over links of 100 Mbit/s; the same four ranks on one host sum in the same order."""
    hosts = [network.add(name, f"ens{number}") for number, name in enumerate(HOSTS)]
    for host in hosts:
        host.limit("100mbit")
    found = []
    for name, slots in (("four", ":1,".join(HOSTS) + ":1"), ("one", "first:4")):
        run = make_training(trainer, name, *FLAGS)
        run.start(hosts[0], "--controller", controller, "--hosts", slots)
        found.append(run.finish().check())
    four, one = found
    assert (four.report["size"], one.report["size"]) == (4, 4)
    require_same(four, one)


@pytest.mark.skipif(bool(missing_for_delays()), reason=missing_for_delays())
def test_two_distant_hosts_match_a_single_host(training: RunOnHosts, undisturbed: Run) -> None:
    hosts = [training.network.add(name, "eth0") for name in HOSTS[:2]]
    for host in hosts:
        host.delay(5)
    training.start(hosts[0], "--hosts", "first:1,second:1")
    require_same(training.finish().check(), undisturbed)
