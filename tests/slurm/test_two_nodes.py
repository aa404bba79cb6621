"""A job on two nodes of a Slurm cluster trains what one machine trains, where no ssh is allowed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hvdcore.launch.job.controllers import mpi_problem
from hvdcore.testing.runs import Run
from hvdcore.testing.slurm import SlurmRun

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem())),
]


def nodes(run: Run) -> list[str]:
    """Those that the launcher has found fit, in order."""
    lines = run.stderr.splitlines()
    return [line.split(":")[0] for line in lines if line.startswith("host ")]


def test_two_nodes_match_a_single_machine(training: SlurmRun, undisturbed: Run) -> None:
    run = training.finish(training.submit(str(training.write_script("--nodes=2", "--time=10"))))
    assert run.report["weights_sha256"] == undisturbed.report["weights_sha256"]
    assert run.losses("train") == undisturbed.losses("train")
    assert run.report["size"] == 2
    assert nodes(run) == ["host first", "host second"]


def test_over_gloo_too(training: SlurmRun, undisturbed: Run) -> None:
    launch = f"{sys.executable} -m hvdcore launch --controller gloo"
    script = training.folder / "job.sh"
    script.write_text(f"#!/bin/sh\nexec {launch} {' '.join(training.command)}\n", "utf-8")
    run = training.finish(training.submit("--nodes=2", "--ntasks-per-node=1", str(script)))
    assert run.report["weights_sha256"] == undisturbed.report["weights_sha256"]
    assert nodes(run) == ["host first", "host second"]


def test_tasks_of_one_node_are_ranks(training: SlurmRun, undisturbed: Run) -> None:
    script = training.write_script("--ranks-per-node=2", "--time=10")
    run = training.finish(training.submit(str(script)))
    assert run.report["size"] == 2
    assert run.report["weights_sha256"] == undisturbed.report["weights_sha256"]


def test_more_ranks_than_tasks_fit_on_one_node(training: SlurmRun) -> None:
    """A task may have been given the cores for all of them."""
    launch = f"{sys.executable} -m hvdcore launch --np 3 {sys.executable} -c 'print(1)'"
    number = training.submit("--ntasks=1", "--wrap", launch)
    assert "1\n" in training.finish(number).check().stderr


def test_each_seed_of_an_array_has_its_own_run(training: SlurmRun, undisturbed: Run) -> None:
    script = training.write_script("--array=0,3", "--time=10")
    number = training.submit(str(script))
    runs = {}
    for seed in (0, 3):
        training.cluster.wait_for(f"{number}_{seed}", "COMPLETED")
        runs[seed] = Run(training.path / f"seed-{seed}", 0, "", "")
        assert runs[seed].report["seed"] == seed
    # The seed by default is 0, and one rank trains what two train, but for the order of sums.
    assert runs[0].losses("val") == pytest.approx(undisturbed.losses("val"), rel=1e-4)
    assert runs[3].losses("val") != pytest.approx(undisturbed.losses("val"), rel=1e-4)


def test_control_the_nodes_refuse_ssh(training: SlurmRun) -> None:
    first = training.cluster.network.hosts["first"]
    ssh = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "second", "true"]
    env = {"PATH": training.cluster.network.path}
    done = subprocess.run(
        [*first.inside(training.folder), *ssh], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 255
    assert "Permission denied" in done.stderr
