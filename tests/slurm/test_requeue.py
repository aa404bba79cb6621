"""A job that Slurm stops saves, is queued again, and ends with the weights of one never stopped."""

from __future__ import annotations

import signal

import pytest

from hvdcore.launch.job.controllers import mpi_problem
from hvdcore.testing.runs import Run
from hvdcore.testing.slurm import SlurmRun, missing_for_cgroups

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(mpi_problem() is not None, reason=str(mpi_problem())),
]
JOB = ("--nodes=2", "--time=10")


@pytest.fixture
def running(training: SlurmRun) -> str:
    """The number of a job on both nodes that has saved a checkpoint, and stands still."""
    number = training.submit(str(training.write_script(*JOB)))
    training.wait_for_checkpoint(number)
    training.signal_ranks(signal.SIGSTOP)
    return number


def preempt_and_finish(training: SlurmRun, running: str) -> Run:
    sleeper = training.submit("--partition=high", "--nodes=2", "--exclusive", "--wrap=sleep 1")
    training.cluster.wait_until(running, lambda: "PREEMPTION" in training.said(running))
    run = training.finish_restarted(running)
    assert training.cluster.job(sleeper)["JobState"] == "COMPLETED"
    return run


def test_preempted_it_ends_as_if_it_had_not_been(
    training: SlurmRun, running: str, undisturbed: Run
) -> None:
    run = preempt_and_finish(training, running)
    assert run.report["weights_sha256"] == undisturbed.report["weights_sha256"]
    assert run.losses("train") == undisturbed.losses("train")


# Its short form is test_container's, with the same signal.
@pytest.mark.proof
def test_near_the_time_limit_it_queues_itself_again(
    training: SlurmRun, running: str, undisturbed: Run
) -> None:
    # What --signal does before the limit, without the wait.
    training.cluster.ask("scancel", "--batch", "--signal=USR1", running)
    run = training.finish_restarted(running)
    assert run.report["weights_sha256"] == undisturbed.report["weights_sha256"]


def test_cancelled_it_saves_and_is_not_queued_again(training: SlurmRun, running: str) -> None:
    training.cluster.ask("scancel", running)
    training.signal_ranks(signal.SIGCONT)
    end = training.cluster.wait_for(running, "CANCELLED")
    assert end["ExitCode"] == "143:0"
    assert end["Restarts"] == "0"
    for host in training.cluster.network.hosts.values():
        assert host.processes("hvdcore.launch.supervisor.supervise") == []


@pytest.mark.proof
@pytest.mark.parametrize(
    "cluster",
    [
        "linuxproc",  # signals every process of the job
        pytest.param(
            "cgroup",  # as clusters have it: the batch script, and on other nodes Open MPI's daemon
            marks=pytest.mark.skipif(bool(missing_for_cgroups()), reason=missing_for_cgroups()),
        ),
    ],
    indirect=True,
)
def test_preempted_whichever_processes_are_signaled(
    training: SlurmRun, running: str, undisturbed: Run
) -> None:
    run = preempt_and_finish(training, running)
    assert run.report["weights_sha256"] == undisturbed.report["weights_sha256"]


@pytest.mark.proof
def test_at_a_real_time_limit_it_queues_itself_again(training: SlurmRun, undisturbed: Run) -> None:
    number = training.submit(str(training.write_script("--nodes=2", "--time=3")))
    training.wait_for_checkpoint(number)
    training.signal_ranks(signal.SIGSTOP)
    training.wait_for_order(number)
    training.signal_ranks(signal.SIGCONT)
    training.cluster.wait_for(number, "PENDING", restarts=1)
    # On a busy machine what is left takes more than a minute.
    training.cluster.ask("scontrol", "update", f"JobId={number}", "TimeLimit=60")
    run = training.finish_restarted(number)
    assert run.report["weights_sha256"] == undisturbed.report["weights_sha256"]
