"""The manifests' own commands, in pods as the MPI operator makes them, train what one host trains.

Host file, keys, names and variables are the operator's; sshd and the ranks run as a user without
rights, in a root that is read-only. The programs are this environment's; in the long form, those of
the image, built by its Dockerfile.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from containers import Image
from mpijob import Objects, mpi_job
from operator_pods import Job

from hvdcore.testing.hosts import TestNetwork
from hvdcore.testing.runs import Run
from textgen.testing import TINY, train, write_book

pytestmark = pytest.mark.ranks
FLAGS = ("--max-steps", "150", "--eval-every", "150", "--checkpoint-every", "4", "--log-every", "1")
Kustomize = Callable[[str], Objects]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """On two ranks of this machine."""
    folder = tmp_path_factory.mktemp("alone")
    book = write_book(folder / "book.txt", num_words=2000)
    return train(folder / "run", book, *FLAGS, "--np", "2", timeout=900).check()


@pytest.fixture
def pods(tmp_path: Path, network: TestNetwork, image: Image) -> Callable[[Objects], Job]:
    def make(objects: Objects) -> Job:
        job = Job(mpi_job(objects), network, tmp_path, image, {"OMP_NUM_THREADS": "1"})
        write_book(job.data / "book.txt", num_words=2000)
        return job

    return make


def own_data(*more: str) -> list[str]:
    return ["--data", "/data/book.txt", *TINY, *FLAGS, *more]


def report(job: Job) -> dict[str, Any]:
    assert job.process.wait(600) == 0, job.stderr()
    found: dict[str, Any] = json.loads((job.data / "runs/trainer/report.json").read_text("utf-8"))
    return found


def test_the_job_trains_what_one_host_trains(
    kustomize: Kustomize, pods: Callable[[Objects], Job], alone: Run
) -> None:
    job = pods(kustomize("base"))
    workers = [job.start_worker(0), job.start_worker(1)]
    job.list_running(0, 1)
    job.start_launcher(*own_data())
    assert report(job)["weights_sha256"] == alone.report["weights_sha256"]
    told = [line for line in job.stderr().splitlines() if line.startswith("host ")]
    assert [line.split(":")[0] for line in told] == [f"host {job.full_name(i)}" for i in (0, 1)]
    assert all(not worker.processes("hvdcore.launch.supervisor.supervise") for worker in workers)
    assert {os.stat(path).st_uid for path in (job.data / "runs").rglob("*")} == {1000}


def test_a_spot_worker_is_taken_back_and_the_run_goes_on(
    kustomize: Kustomize, pods: Callable[[Objects], Job], alone: Run
) -> None:
    job = pods(kustomize("overlays/elastic"))
    for index in range(3):
        job.start_worker(index)
    job.list_running(0, 1)
    # Two ranks throughout: to the bit what two ranks train.
    job.start_launcher(*own_data("--min-np", "2", "--max-np", "2"))
    job.wait_until(lambda: any((job.data / "runs/trainer/checkpoints").glob("step-*")))
    job.list_running(0, 1, 2)
    job.evict(1)
    job.list_running(0, 2)
    found = report(job)
    there = f"{job.full_name(0)}:1,{job.full_name(2)}:1"
    said = f"asked to stop: resuming from the newest checkpoint with 2 ranks on {there}"
    assert said in job.stderr(), job.stderr()
    assert found["weights_sha256"] == alone.report["weights_sha256"]
