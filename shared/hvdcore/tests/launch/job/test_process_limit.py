"""A limit of processes and threads, as containers have: named by whichever part meets it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvdcore.launch.job.horovodrun import Horovodrun
from hvdcore.launch.supervisor.outcome import read_outcome
from hvdcore.runtime.process_limit import is_reached

ADVICE = r"no more processes or threads can be started here \(.*\); raise the limit"
GROUPS = Path("/sys/fs/cgroup/pids")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of processes."""
    folder = GROUPS / f"hvdcore-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no control groups of processes that this user may make")
    yield folder
    folder.rmdir()


def launch_in(group: Path, limit: int, controller: str) -> subprocess.CompletedProcess[str]:
    (group / "pids.max").write_text(str(limit))
    line = f"echo $BASHPID > {group}/cgroup.procs; exec '{sys.executable}' -m hvdcore launch --np 2"
    line += f" --controller {controller} '{sys.executable}' -c 'print(6 * 7)'"
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("limit", "controller"), [(2, "gloo"), (4, "gloo"), (14, "gloo"), (4, "mpi"), (7, "mpi")]
)
def test_the_limit_is_named(group: Path, limit: int, controller: str) -> None:
    done = launch_in(group, limit, controller)
    assert done.returncode in (1, 2)
    assert re.search(ADVICE, done.stderr)
    assert f"cgroup is {limit})" in done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    # What a rank printed itself is named, where one came so far.
    assert len([line for line in lines if not line.startswith("[rank ")]) <= 2


def test_control_enough_processes(group: Path) -> None:
    done = launch_in(group, 100, "gloo")
    assert (done.returncode, done.stdout) == (0, "42\n")


def test_the_reason_is_found_above_many_lines() -> None:
    script = 'echo "RuntimeError: can\'t start new thread"; seq 50; exit 1'
    starter = Horovodrun(["bash", "-c", script], os.environ)
    while starter.exit_code() is None:
        starter.hear()
    starter.hear()
    (line,) = starter.last_words()
    starter.end()
    assert re.fullmatch(f"{ADVICE}.*", line)


@pytest.mark.parametrize(
    "said",
    [
        "libgomp: Thread creation failed: Resource temporarily unavailable",
        "F tsl/platform/default/env.cc:74] Thread tf_data creation via pthread_create() failed.",
        "RuntimeError: can't start new thread",
    ],
)
def test_a_rank_that_gets_no_thread(said: str) -> None:
    assert re.search(ADVICE, read_outcome(3, 1, deque([said]), log="l", asked_to_stop=None).line())
    other = read_outcome(3, 1, deque(["no such thread"]), log="l", asked_to_stop=None)
    assert not re.search(ADVICE, other.line()), "control"


def test_other_errors_of_the_system_are_not_that() -> None:
    assert is_reached(BlockingIOError(11, "Resource temporarily unavailable"))
    assert not is_reached(OSError(28, "No space left on device"))
    assert not is_reached(BlockingIOError(11, "write could not complete without blocking", 5))
