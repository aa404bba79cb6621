"""Hosts are lost and join while a training runs: it ends by itself, as if nothing had happened.

The number of ranks stays the same here, so that the weights are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hvdcore.testing.hosts import TestNetwork
from hvdcore.testing.runs import Run, RunOnHosts

pytestmark = pytest.mark.ranks
ELASTIC = ("--min-np", "2", "--max-np", "2", "--controller", "gloo")


def test_a_host_dies_and_one_is_taken_back(training: RunOnHosts, undisturbed: Run) -> None:
    add = training.network.add
    first, second, third = add("first", "eth0"), add("second", "eth0"), add("third", "ens7")
    training.list_hosts("first", "second", "third")
    training.start(first, *ELASTIC, "--host-discovery-script", str(training.script))
    assert training.wait_for_checkpoint()
    second.kill()
    training.wait_for("restart 1 of 10: resuming from the newest checkpoint with 2 ranks on")
    add("fourth", "eth1")
    assert training.wait_for_checkpoint()
    training.list_hosts("first", "third", "fourth")
    training.ask_to_stop(third)
    run = training.finish().check()
    assert (
        "third asked to stop: resuming from the newest checkpoint with 2 ranks on first:1,fourth:1"
        in run.stderr
    )
    assert run.report["weights_sha256"] == undisturbed.report["weights_sha256"]
    assert run.losses("train") == undisturbed.losses("train")


@pytest.mark.proof
@pytest.mark.parametrize("trainer", ["image_cls", "news_cls"])
def test_keras_goes_on_when_hosts_are_lost_and_join(
    network: TestNetwork,
    make_training: Callable[..., RunOnHosts],
    run_undisturbed: Callable[[str], Run],
    trainer: str,
) -> None:
    training = make_training(trainer, "run")
    first, second = network.add("first", "eth0"), network.add("second", "ens7")
    training.list_hosts("first", "second")
    training.start(first, *ELASTIC, "--host-discovery-script", str(training.script))
    assert training.wait_for_checkpoint()
    second.kill()
    training.wait_for("launcher: waiting at most 600 s for hosts")
    network.add("third", "eth1")
    training.list_hosts("first", "third")
    run, undisturbed = training.finish().check(), run_undisturbed(trainer)
    assert "resuming from the newest checkpoint with 2 ranks on first:1,third:1" in run.stderr
    assert run.report["weights_sha256"] == undisturbed.report["weights_sha256"]
    assert run.losses("train") == undisturbed.losses("train")
