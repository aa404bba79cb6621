"""The manifests' own commands, in pods as the MPI operator makes them, train what one host trains.

Host file, keys, names and variables are the operator's; sshd and the ranks run as a user without
rights, in a root that is read-only. The programs are this environment's, not the image's.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from containers import Image
from operator_pods import Job

import hvdcore
from hvdcore.testing_hosts import TestNetwork
from hvdcore.testing_runs import Run, ranks_environment
from textgen.testing import TINY, train, write_book

pytestmark = pytest.mark.ranks
ROOT = Path(__file__).resolve().parents[3]
DOCKER = ROOT / "infra" / "docker"
FLAGS = ("--max-steps", "60", "--eval-every", "60", "--checkpoint-every", "4", "--log-every", "1")
# What the Dockerfile does to the root; this machine's programs are already there.
PREPARE = f"""
sed -i '/:1000:/d' $R/etc/passwd $R/etc/group
echo 'trainer:x:1000:1000::/trainer:/bin/sh' >> $R/etc/passwd
echo 'trainer:x:1000:' >> $R/etc/group
mkdir -p $R/trainer $R/etc/mpi $R/etc/ssh/ssh_config.d
cp {shlex.quote(str(DOCKER / "ssh_config"))} $R/etc/ssh/ssh_config.d/hvdcore.conf
cp {shlex.quote(str(DOCKER / "sshd_config"))} $R/etc/ssh/hvdcore_sshd_config
cp {shlex.quote(str(DOCKER / "drain-ranks"))} $R/usr/local/bin/drain-ranks
"""


def this_environment() -> Image:
    """This machine's root and this interpreter's packages, wherever they lie."""
    kept = ("PATH", "PYTHONPATH")
    env = {k: v for k, v in ranks_environment({}).items() if k in kept}
    env["PATH"] = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    env |= {"HOME": "/trainer", "XDG_CACHE_HOME": "/data/cache", "MPLCONFIGDIR": "/tmp/matplotlib"}
    sources = {Path(sys.prefix), Path(sys.base_prefix), Path(hvdcore.__file__).parents[4]}
    return Image(Path("/"), env, (), PREPARE, sorted(sources))


def mpi_job(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return next(item for item in objects if item["kind"] == "MPIJob")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """On two ranks of this machine."""
    folder = tmp_path_factory.mktemp("alone")
    book = write_book(folder / "book.txt", num_words=2000)
    return train(folder / "run", book, *FLAGS, "--np", "2", timeout=900).check()


@pytest.fixture
def pods(tmp_path: Path, network: TestNetwork) -> Callable[[list[dict[str, Any]]], Job]:
    def make(objects: list[dict[str, Any]]) -> Job:
        env = {"OMP_NUM_THREADS": "1"}
        job = Job(mpi_job(objects), network, tmp_path, this_environment(), env)
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
    kustomize: Callable[[str], list[dict[str, Any]]],
    pods: Callable[[list[dict[str, Any]]], Job],
    alone: Run,
) -> None:
    job = pods(kustomize("base"))
    workers = [job.start_worker(0), job.start_worker(1)]
    job.list_running(0, 1)
    job.start_launcher(*own_data())
    assert report(job)["weights_sha256"] == alone.report["weights_sha256"]
    told = [line for line in job.stderr().splitlines() if line.startswith("host ")]
    assert [line.split(":")[0] for line in told] == [f"host {job.full_name(i)}" for i in (0, 1)]
    assert all(not worker.processes("hvdcore.rank_argv") for worker in workers)
    assert {os.stat(path).st_uid for path in (job.data / "runs").rglob("*")} == {1000}


def test_a_spot_worker_is_taken_back_and_the_run_goes_on(
    kustomize: Callable[[str], list[dict[str, Any]]],
    pods: Callable[[list[dict[str, Any]]], Job],
    alone: Run,
) -> None:
    job = pods(kustomize("overlays/elastic"))
    job.start_worker(0)
    job.start_worker(1)
    job.list_running(0, 1)
    # Two ranks throughout: to the bit what two ranks train.
    job.start_launcher(*own_data("--min-np", "2", "--max-np", "2"))
    job.wait_until(lambda: any((job.data / "runs/trainer/checkpoints").glob("step-*")))
    job.start_worker(2)
    job.list_running(0, 1, 2)
    job.evict(1)
    job.list_running(0, 2)
    found = report(job)
    there = f"{job.full_name(0)}:1,{job.full_name(2)}:1"
    said = f"asked to stop: going on from the newest checkpoint with 2 ranks on {there}"
    assert said in job.stderr(), job.stderr()
    assert found["weights_sha256"] == alone.report["weights_sha256"]
