"""Elastic jobs of real processes: workers come, go and are killed, and no sample is lost."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from runner_jobs import environment, horovodrun, program, running, wait_until

pytest.importorskip("torch", reason="horovod.torch needs PyTorch")
pytest.importorskip("horovod.torch")

pytestmark = pytest.mark.ranks

A, B = "localhost", "127.0.0.1"
ALL = 1 << 30


class ElasticJob:
    """A job of one slot on each host, whose hosts a file names.

    Args:
        folder: for its files.
        hosts: at the beginning.
        free: steps that it may take before `go`.
    """

    def __init__(self, folder: Path, hosts: list[str], free: int = ALL) -> None:
        self.folder = folder
        self.free = free
        self.set_hosts(hosts)
        (folder / "free").write_text(str(free))
        script = folder / "discover"
        script.write_text(f"#!/bin/sh\ncat '{folder}/hosts'\n")
        script.chmod(0o755)
        self.code, self.said = -1, ""

    def set_hosts(self, hosts: list[str]) -> None:
        part = self.folder / "hosts.part"
        part.write_text("".join(f"{host}:1\n" for host in hosts))
        part.replace(self.folder / "hosts")

    @contextmanager
    def running(
        self, *words: str, np: int, min_np: int = 1, launcher: tuple[str, ...] = ()
    ) -> Iterator[None]:
        """The job while it runs; its end is waited for."""
        command = horovodrun(
            *("-np", str(np), "--min-num-proc", str(min_np), "--network-interfaces", "lo"),
            *("--host-discovery-script", str(self.folder / "discover"), *launcher),
            *program("elastic_samples.py", self.folder, *words),
        )
        with running(command, environment(HOROVOD_GLOO_TIMEOUT_SECONDS="20")) as process:
            yield
            (self.folder / "go").touch()
            out, err = process.communicate(timeout=400)
            self.code, self.said = process.returncode, out + err

    def events(self, kind: str) -> list[dict]:
        path = self.folder / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def wait_for_steps(self, number: int) -> None:
        wait_until(lambda: len(self.events("step")) >= number, f"{number} steps")

    def used(self) -> Counter:
        """How often each sample of each epoch was used."""
        steps = self.events("step")
        return Counter((step["epoch"], sample) for step in steps for sample in step["samples"])


def every_sample(num_samples: int, num_epochs: int) -> Counter:
    return Counter((epoch, i) for epoch in range(num_epochs) for i in range(num_samples))


def ends(job: ElasticJob) -> list[tuple[str, int, float]]:
    return sorted((end["slot"], end["epoch"], end["weight"]) for end in job.events("end"))


def test_control_nothing_happens(tmp_path: Path) -> None:
    job = ElasticJob(tmp_path, [A, B])
    with job.running("12", "2", "2", "1", np=2):
        pass
    assert job.code == 0, job.said
    assert job.used() == every_sample(12, 2)
    assert ends(job) == [(f"{B}:0", 2, 24), (f"{A}:0", 2, 24)]
    assert len(job.events("sync")) == 2


@pytest.mark.parametrize("commit_every", ["0", "1", "4"])
def test_a_host_joins_in_mid_epoch(commit_every: str, tmp_path: Path) -> None:
    job = ElasticJob(tmp_path, [A], free=6)
    with job.running("12", "2", "1", commit_every, np=1):
        job.wait_for_steps(6)
        job.set_hosts([A, B])
        wait_until(lambda: len(job.events("sync")) == 3, "both to synchronize")
    assert job.code == 0, job.said
    # 6 samples by one worker, 6 by two, and the second epoch: each once.
    assert job.used() == every_sample(12, 2)
    assert ends(job) == [(f"{B}:0", 2, 24), (f"{A}:0", 2, 24)]
    joined = [(s["epoch"], s["steps"], s["weight"], s["size"]) for s in job.events("sync")[1:]]
    assert joined == [(0, 6, 6, 2)] * 2


def test_a_host_joins_before_the_first_worker_listens(tmp_path: Path) -> None:
    job = ElasticJob(tmp_path, [A], free=0)
    with job.running("8", "1", "1", "1", np=1):
        wait_until(lambda: job.said or _workers(tmp_path), "the first worker's process")
        job.set_hosts([A, B])
        wait_until(lambda: len(job.events("sync")) >= 2, "both to synchronize")
    assert job.code == 0, job.said
    assert {end["size"] for end in job.events("end")} == {2}
    assert job.used() == every_sample(8, 1)


def _workers(folder: Path) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if line[1:2] and line[1].endswith("elastic_samples.py") and line[2] == str(folder):
            found.append(pid)
    return found


def test_a_host_leaves(tmp_path: Path) -> None:
    job = ElasticJob(tmp_path, [A, B], free=2)
    with job.running("12", "2", "2", "0", np=2):
        job.wait_for_steps(4)
        job.set_hosts([A])
        wait_until(lambda: len(job.events("sync")) == 3, "the one that is left to synchronize")
    assert job.code == 0, job.said
    assert job.used() == every_sample(12, 2)
    assert ends(job) == [(f"{A}:0", 2, 24)]
    # Who is no more needed has not failed.
    assert "Traceback" not in job.said
    assert "exit with status" not in job.said


def test_one_leaves_while_another_joins(tmp_path: Path) -> None:
    other = os.uname().nodename
    job = ElasticJob(tmp_path, [A, B], free=2)
    with job.running("24", "1", "2", "0", np=2):
        job.wait_for_steps(4)
        job.set_hosts([A, other])
        wait_until(lambda: len(job.events("sync")) == 4, "both to synchronize")
    assert job.code == 0, job.said
    assert job.used() == every_sample(24, 1)
    assert ends(job) == [(f"{A}:0", 1, 24), (f"{other}:0", 1, 24)]


DEATHS = {
    "in the first sync, rank 1": f"{B}:0=sync:0",
    "in the first sync, rank 0": f"{A}:0=sync:0",
    "in a step": f"{B}:0=step:3",
    "in a step, rank 0": f"{A}:0=step:3",
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_worker_is_killed(death: str, tmp_path: Path) -> None:
    dead, moment = DEATHS[death].split("=")
    alive = f"{A}:0" if dead.startswith(B) else f"{B}:0"
    job = ElasticJob(tmp_path, [A, B])
    with job.running("12", "2", "1", "1", DEATHS[death], np=2):
        pass
    assert job.code == 0, job.said
    assert ends(job) == [(alive, 2, 24)]
    # A step in which somebody is lost is nobody's: it is taken anew from the last commit.
    taken = [step for step in job.events("step") if step["slot"] == alive]
    assert {(s["epoch"], i) for s in job.events("step") for i in s["samples"]} == set(
        every_sample(12, 2)
    )
    assert len(taken) == (24 if moment == "sync:0" else 3 + 18)


def test_a_worker_is_killed_in_the_sync_of_a_new_one(tmp_path: Path) -> None:
    other = os.uname().nodename
    job = ElasticJob(tmp_path, [A, B], free=2)
    with job.running("24", "1", "2", "0", f"{B}:0=sync:1", np=2):
        job.wait_for_steps(4)
        job.set_hosts([A, B, other])
        wait_until(lambda: (tmp_path / f"died-{B}:0").exists(), "the death")
        wait_until(lambda: {s["slot"] for s in job.events("sync")[2:]} >= {f"{A}:0"}, "a new sync")
    assert job.code == 0, job.said
    assert ends(job) == [(f"{A}:0", 1, 24), (f"{other}:0", 1, 24)]
    assert set(job.used()) == set(every_sample(24, 1))


def test_too_few_are_left(tmp_path: Path) -> None:
    job = ElasticJob(tmp_path, [A, B])
    order = f"{B}:0=step:3"
    with job.running(
        "12", "1", "1", "1", order, np=2, min_np=2, launcher=("--elastic-timeout", "5")
    ):
        pass
    # The code of the worker that was killed, and why there was no going on.
    assert job.code == 137
    assert f"Process name: {B}[0]\nExit code: 137\n" in job.said
    assert "resources to run at least 2 Horovod processes. Timeout after 5 seconds." in job.said
    assert "Traceback" not in job.said


def test_nobody_is_left(tmp_path: Path) -> None:
    job = ElasticJob(tmp_path, [A, B])
    with job.running("12", "1", "1", "1", f"{B}:0=step:3", f"{A}:0=step:3", np=2):
        pass
    assert job.code == 137
    assert "Traceback" not in job.said


def test_the_discovery_script_is_wrong(tmp_path: Path) -> None:
    job = ElasticJob(tmp_path, ["-oProxyCommand=true"])
    with job.running("12", "1", "1", "1", np=1):
        pass
    assert job.code == 1
    assert "hosts could not be discovered" in job.said
    assert 'expected "host" or "host:slots"' in job.said
    assert "Traceback" not in job.said


def test_fewer_samples_than_workers(tmp_path: Path) -> None:
    job = ElasticJob(tmp_path, [A, B, os.uname().nodename])
    with job.running("1", "2", "1", "1", np=3):
        pass
    assert job.code == 0, job.said
    assert job.used() == Counter({(0, 0): 3, (1, 0): 3})
