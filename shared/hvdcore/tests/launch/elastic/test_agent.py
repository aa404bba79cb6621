"""Real jobs on this machine that fail, are asked to stop, or find more slots; no framework."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import horovod_library
from hvdcore.testing.runs import ranks_environment

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(horovod_library() is None, reason="Horovod is not installed"),
]
PRELUDE = """
import os, sys, time
from hvdcore.errors import UserError
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.signals import StopFlag
from hvdcore.launch.supervisor.supervise import run_as_rank
rank, size = int(os.environ["HOROVOD_RANK"]), int(os.environ["HOROVOD_SIZE"])
restart = int(os.environ.get("HVDCORE_RESTART", "0"))
"""


class Job:
    """`hvdcore launch` of a script, over Gloo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "discover"

    def start(self, body: str, *options: str) -> subprocess.Popen[str]:
        file = self.folder / "ranks.py"
        text = f"{PRELUDE}\n{body}\nsys.exit(run_as_rank(main))\n"
        file.write_text(text, encoding="utf-8")
        launch = [sys.executable, "-m", "hvdcore", "launch", "--controller", "gloo", *options]
        return subprocess.Popen(
            [*launch, sys.executable, str(file)],
            env=ranks_environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, body: str, *options: str) -> tuple[int, str, list[str]]:
        out, err = (process := self.start(body, *options)).communicate(timeout=300)
        return process.returncode, out, err.splitlines()

    def list_hosts(self, text: str) -> tuple[str, str]:
        """The option for a script that prints this from now on."""
        new = self.script.with_suffix(".new")
        new.write_text(f"#!/bin/sh\nprintf '{text}'\n", encoding="utf-8")
        new.chmod(0o755)
        new.rename(self.script)
        return "--host-discovery-script", str(self.script)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def launcher_says(lines: list[str]) -> list[str]:
    return [line.removeprefix("launcher: ") for line in lines if line.startswith("launcher: ")]


GOES_ON = "resuming from the newest checkpoint with 2 ranks on localhost:2"


def test_a_run_that_failed_once_is_started_again(job: Job) -> None:
    body = """
def main():
    if rank == 1 and restart == 0:
        raise ValueError("a bad day")
    if rank == 0 and restart == 0:
        beat("communicate")
        time.sleep(1000)
    print("start", restart)
"""
    code, out, err = job.run(body, "--np", "2", "--max-restarts", "3")
    assert (code, out) == (0, "start 1\n"), err
    assert err[0].startswith("rank 1 failed: ValueError: a bad day")
    assert launcher_says(err) == [f"restart 1 of 3: {GOES_ON}"]


def test_one_that_fails_always_ends(job: Job) -> None:
    code, _, err = job.run(
        "def main(): raise ValueError('never')", "--np", "2", "--max-restarts", "1"
    )
    assert code == 1
    assert launcher_says(err) == [
        f"restart 1 of 1: {GOES_ON}",
        "giving up after 1 restarts (--max-restarts)",
    ]


def test_wrong_input_is_not_tried_again(job: Job) -> None:
    body = "def main(): raise UserError('--data: no such path')"
    result = job.run(body, "--np", "2", "--max-restarts", "3")
    assert result == (2, "", ["error: --data: no such path"])


STEPS = """
def main():
    with StopFlag() as flag:
        print("start", restart, "size", size, flush=True)
        while size < 2 and not flag.requested:
            beat("compute")
            time.sleep(0.05)
        print("end", restart, flush=True)
        return flag.exit_code if flag.requested else 0
"""


def test_ranks_save_and_more_go_on_when_slots_join(job: Job) -> None:
    script = job.list_hosts("localhost:1\\n")
    process = job.start(STEPS, "--min-np", "1", *script)
    assert process.stdout is not None
    assert process.stdout.readline() == "start 0 size 1\n"
    job.list_hosts("localhost:1\\n127.0.0.1:1\\n")
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (0, "end 0\nstart 1 size 2\nend 1\n"), err
    where = "localhost:1,127.0.0.1:1"
    assert launcher_says(err.splitlines()) == [
        f"127.0.0.1 joined: resuming from the newest checkpoint with 2 ranks on {where}"
    ]


def test_a_host_whose_rank_failed_is_left_out_for_a_while(job: Job) -> None:
    """Ten seconds at first: then the others, which have gone on without it, take it back."""
    body = """
def main():
    if rank == 1 and restart == 0:
        time.sleep(1)  # rank 0 has said that it started
        raise ValueError("a bad host")
    with StopFlag() as flag:
        print("start", restart, "size", size, flush=True)
        while restart < 2 and not flag.requested:
            beat("compute" if restart else "communicate")
            time.sleep(0.05)
        return flag.exit_code if flag.requested else 0
"""
    code, out, err = job.run(body, "--min-np", "1", "--hosts", "localhost:1,127.0.0.1:1")
    assert code == 0, err
    assert out == "start 0 size 2\nstart 1 size 1\nstart 2 size 2\n"
    assert err[0].startswith("rank 1 failed: ValueError: a bad host")
    assert launcher_says(err) == [
        "restart 1 of 10: resuming from the newest checkpoint with 1 ranks on localhost:1",
        "127.0.0.1 joined: resuming from the newest checkpoint with 2 ranks on "
        "localhost:1,127.0.0.1:1",
    ]


def test_more_ranks_than_slots_are_not_started(job: Job) -> None:
    for options in (("--np", "3"), ("--min-np", "3")):
        code, out, err = job.run(STEPS, *options, "--hosts", "localhost:2")
        assert (code, out) == (2, ""), err
        assert len(err) == 1
        assert err[0].startswith(f"error: {options[0]}: "), err


SAVES_FOR_LONG = """
from pathlib import Path
def main():
    with StopFlag() as flag:
        Path(f"supervisor-{rank}").write_text(str(os.getppid()))
        while size == 2 and not flag.requested:
            beat("compute")
            time.sleep(0.05)
        if size == 2:
            time.sleep(5)
            Path(f"saved-{rank}").touch()
        return flag.exit_code if flag.requested else 0
"""


def test_a_host_that_asked_to_stop_and_then_left_may_save(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ranks are asked to stop twice, by their host and, seconds later, by the launcher: that
    is no order to end at once."""
    monkeypatch.chdir(job.folder)
    script = job.list_hosts("localhost:1\\n127.0.0.1:1\\n")
    process = job.start(SAVES_FOR_LONG, "--min-np", "1", *script)
    supervisors = [job.folder / f"supervisor-{rank}" for rank in range(2)]
    while not all(path.exists() and path.read_text() for path in supervisors):
        assert process.poll() is None
        time.sleep(0.05)
    for path in supervisors:  # no collective here in which they could agree
        os.kill(int(path.read_text()), signal.SIGTERM)
    time.sleep(1.5)  # what comes at once is taken for the same signal
    job.list_hosts("localhost:1\\n")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert launcher_says(err.splitlines()) == [
        "127.0.0.1 left: resuming from the newest checkpoint with 1 ranks on localhost:1"
    ]
    assert sorted(path.name for path in job.folder.glob("saved-*")) == ["saved-0", "saved-1"]


def test_a_signal_to_the_launcher_ends_the_run_for_good(job: Job) -> None:
    process = job.start(STEPS, "--min-np", "1", "--hosts", "localhost:1", "--max-restarts", "5")
    assert process.stdout is not None
    assert process.stdout.readline() == "start 0 size 1\n"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (143, "end 0\n", "")


def test_waiting_for_hosts_has_an_end(job: Job) -> None:
    options = ("--min-np", "2", *job.list_hosts("localhost:1\\n"), "--elastic-timeout", "1")
    code, out, err = job.run(STEPS, *options)
    assert (code, out) == (1, "")
    assert launcher_says(err) == [
        "waiting at most 1 s for hosts: too few to start",
        "giving up: not enough hosts (--elastic-timeout)",
    ]


def test_a_script_that_fails_later_is_told_and_borne(job: Job) -> None:
    script = job.list_hosts("localhost:1\\n")
    process = job.start(STEPS, "--min-np", "1", *script)
    assert process.stdout is not None
    assert process.stdout.readline() == "start 0 size 1\n"
    job.list_hosts("<html>\\n")
    assert process.stderr is not None
    said = process.stderr.readline()
    assert "printed '<html>', not one host per line" in said
    assert said.endswith("continuing with the previous hosts\n")
    time.sleep(3)  # it is asked again, and reported once
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (143, "")


def test_a_script_that_fails_at_the_start_is_the_users_error(job: Job) -> None:
    code, _, err = job.run(STEPS, "--min-np", "1", *job.list_hosts("<html>\\n"))
    assert code == 2
    assert err == [
        f"error: --host-discovery-script: {job.script} printed '<html>', "
        "not one host per line (name:slots)"
    ]
