"""One run at a time in a run directory: who holds it, who wins, and what a dead holder leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvdcore.errors import Problems, UserError
from hvdcore.run.lock import LOCK_FOLDER, RunLock, hold_run_dir, run_dirs_held
from hvdcore.run.run_dir import RunDir
from hvdcore.run.start import check_output_dir

HOLD = """
import sys, time
from pathlib import Path
from hvdcore.errors import user_errors_exit
from hvdcore.run.lock import RunLock
with user_errors_exit():
    RunLock(Path(sys.argv[1])).take()
print("taken", flush=True)
sys.stdin.read()
"""


def start(run: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds `tmp_path/run`."""
    with start(tmp_path / "run") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


def test_a_living_holder_is_named_and_a_killed_one_is_not_waited_for(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match=f"in use by process {holder.pid} on ") as refused:
        RunLock(run).take()
    assert len(refused.value.problems) == 1
    problems = Problems()
    check_output_dir(run, "auto", problems)
    with pytest.raises(UserError, match=f"process {holder.pid}"):
        problems.raise_if_any()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    RunLock(run).take()


def test_of_processes_that_start_at_one_moment_exactly_one_wins(tmp_path: Path) -> None:
    for attempt in range(3):
        run = tmp_path / str(attempt)
        processes = [start(run) for _ in range(4)]
        ends = []
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != "taken\n":
                ends.append((process.wait(), *process.communicate()))
        winners = [process for process in processes if process.poll() is None]
        assert len(winners) == 1
        assert [code for code, *_ in ends] == [2, 2, 2]
        assert all(err.count("\n") == 1 and str(winners[0].pid) in err for *_, err in ends)
        winners[0].communicate()


def test_a_number_taken_by_a_slow_process_is_given_up(tmp_path: Path) -> None:
    """It read 0 as the highest; meanwhile two others came and went."""
    slow = RunLock(tmp_path)
    for _ in range(2):
        lock = RunLock(tmp_path)
        lock.take()
        lock.release()
    assert slow._create(1) is None
    assert slow._create(2) is None, "it is there"
    assert slow._create(3) is not None, "control: the next number"


def write_holder(run: Path, **changes: object) -> Path:
    """A lock file whose holder differs from us."""
    lock = RunLock(run)
    lock.take()
    (path,) = (run / LOCK_FOLDER).glob("[0-9]*")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}), encoding="utf-8")
    lock._stop.set()  # nobody touches it any more
    return path


def test_a_holder_elsewhere_is_alive_while_its_file_changes(tmp_path: Path) -> None:
    path = write_holder(tmp_path, host="node-7", pid=4321, space="another boot")
    waits = []

    def other_host() -> None:
        waits.append(1)
        os.utime(path, (len(waits), len(waits)))

    with pytest.raises(UserError, match="in use by process 4321 on node-7"):
        RunLock(tmp_path).take(other_host)
    RunLock(tmp_path, dead_seconds=0.5).take()


def test_a_process_id_that_is_used_again_is_no_holder(tmp_path: Path) -> None:
    path = write_holder(tmp_path)
    holder = json.loads(path.read_text())
    assert RunLock(tmp_path).holder() is not None, "control: it is us"
    path.write_text(json.dumps({**holder, "started": holder["started"] - 100}), encoding="utf-8")
    assert RunLock(tmp_path).holder() is None


def test_a_restart_by_the_same_launcher_does_not_wait_for_a_host_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_holder(tmp_path, space="another boot", launch="a launch")
    monkeypatch.setenv("HVDCORE_LAUNCH", "a launch")
    RunLock(tmp_path).take(lambda: pytest.fail("it waited"))


def test_without_hard_links_a_file_is_created_exclusively(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    RunLock(tmp_path).take()
    with pytest.raises(UserError, match="in use"):
        RunLock(tmp_path).take()


def test_a_run_directory_with_nothing_but_its_lock_is_new(tmp_path: Path) -> None:
    with run_dirs_held():
        hold_run_dir(tmp_path / "run")
        hold_run_dir(tmp_path / "run")
        RunDir(tmp_path / "run").check_free()
        with pytest.raises(UserError, match="in use"):
            RunLock(tmp_path / "run").take()
    RunLock(tmp_path / "run").take()


def test_a_run_directory_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a part of the path is a file"):
        hold_run_dir(tmp_path / "file" / "run")
