"""A real supervisor with a real child. Variables are launcher enough: no collective is called."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvdcore.launch.supervisor.processes import find_orphans, kill_orphans

PRELUDE = """
import os, signal, subprocess, sys, time
from hvdcore.errors import UserError
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.signals import StopFlag
from hvdcore.launch.supervisor.supervise import run_as_rank
"""
RANKS = {"HOROVOD_LOCAL_RANK": "0", "HOROVOD_LOCAL_SIZE": "1"}


class Rank:
    """Starts a script as a rank and collects what it does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Somebody listens where the launcher of the ranks would.
        self.socket = socket.create_server(("127.0.0.1", 0))
        address, port = self.socket.getsockname()
        self.launcher = {
            "HOROVOD_GLOO_RENDEZVOUS_ADDR": address,
            "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
        }
        self.marker = folder.name + str(os.getpid())

    def start(self, body: str, rank: int = 1, size: int = 2, **env: str) -> subprocess.Popen[str]:
        script = self.folder / "script.py"
        script.write_text(f"{PRELUDE}\n{body}\nsys.exit(run_as_rank(main))\n", encoding="utf-8")
        world = {"HOROVOD_RANK": str(rank), "HOROVOD_SIZE": str(size), **RANKS, **self.launcher}
        variables = {**os.environ, "HVDCORE_LOG_DIR": str(self.folder), "MARK": self.marker}
        return subprocess.Popen(
            [sys.executable, str(script), "an 'argument'; $(x)", ""],
            env={**variables, **(world if size > 1 else {}), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, body: str, rank: int = 1, size: int = 2, **env: str) -> tuple[int, str, str]:
        process = self.start(body, rank, size, **env)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def log(self, rank: int = 1) -> str:
        return (self.folder / f"rank-{rank}.log").read_text(encoding="utf-8")

    def left(self) -> list[int]:
        deadline = time.monotonic() + 30
        while (found := find_orphans("MARK", self.marker)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Rank]:
    subject = Rank(tmp_path)
    yield subject
    subject.socket.close()
    kill_orphans("MARK", subject.marker)


def test_variables_of_another_job_are_told_by_what_does_not_fit(job: Rank) -> None:
    body = """
def main():
    print("it ran")
"""
    assert job.run(body)[0] == 0, "control: there is a launcher"
    job.launcher["HOROVOD_GLOO_RENDEZVOUS_PORT"] = "1"
    code, out, err = job.run(body)
    assert (code, out) == (2, "")
    assert (
        "HOROVOD_RANK=1 and HOROVOD_SIZE=2: left from another job: no launcher at 127.0.0.1:1 "
        in err
    )
    assert err.count("\n") == 1
    job.launcher.clear()
    code, out, err = job.run(body)
    assert (code, out) == (2, "")
    assert "set, but no launcher started this process; unset HOROVOD_RANK" in err


def test_the_work_runs_in_a_prepared_child_with_the_same_arguments(job: Rank) -> None:
    body = """
def main():
    print(sys.argv[1:], os.environ["HVDCORE_SUPERVISED"], "OMP_NUM_THREADS" in os.environ)
    print("to stderr", file=sys.stderr)
"""
    code, out, err = job.run(body, rank=0)
    assert (code, out, err) == (0, "[\"an 'argument'; $(x)\", ''] 1 True\n", "to stderr\n")
    assert sorted(job.log(0).splitlines()) == sorted((out + err).splitlines())


def test_one_rank_alone_runs_in_place(job: Rank) -> None:
    body = """
def main():
    print(os.environ.get("HVDCORE_SUPERVISED"), os.environ["HOROVOD_CONTROLLER"], sys.argv[1:])
    return 3
"""
    code, out, _ = job.run(body, size=1)
    assert (code, out) == (3, "None gloo [\"an 'argument'; $(x)\", '']\n")


def test_an_exception_is_one_line_and_its_traceback_is_in_the_log(job: Rank) -> None:
    code, out, err = job.run("def main(): raise ValueError('no such luck')")
    assert (code, out) == (1, "")
    assert err == f"rank 1 failed: ValueError: no such luck (log: {job.folder}/rank-1.log)\n"
    assert "in main" in job.log()
    assert "\x1e" not in job.log()


def test_killed(job: Rank) -> None:
    code, _, err = job.run("def main(): os.kill(os.getpid(), signal.SIGKILL)")
    assert code == 1
    assert err == f"rank 1 was killed by SIGKILL (log: {job.folder}/rank-1.log)\n"


def test_hang(job: Rank) -> None:
    body = """
def main():
    beat("compute", 5)
    time.sleep(1000)
"""
    code, _, err = job.run(body, HVDCORE_STALL_TIMEOUT="2")
    assert code == 1
    assert "rank 1 hung: no heartbeat for 2 s in phase 'compute' of step 5" in err
    assert job.left() == []


def test_stopped_process(job: Rank) -> None:
    body = """
def main():
    beat("communicate", 5)
    os.kill(os.getpid(), signal.SIGSTOP)
"""
    code, _, err = job.run(body, HVDCORE_STALL_TIMEOUT="2")
    assert code == 1
    assert "rank 1 stopped by a signal for more than 2 s" in err


def test_waiting_for_a_rank_that_never_comes(job: Rank) -> None:
    body = """
def main():
    beat("communicate", 5)
    time.sleep(1000)
"""
    code, _, err = job.run(body, HVDCORE_STALL_TIMEOUT="1")
    assert code == 1
    assert "rank 1 waited more than 2 s for the other ranks" in err


def test_a_users_error_is_shown_once_by_rank_0(job: Rank) -> None:
    body = "def main(): raise UserError('--data: no such path', '--np: too many')"
    assert job.run(body, rank=0) == (2, "", "error: --data: no such path\nerror: --np: too many\n")


def test_a_users_error_moves_no_cursor(job: Rank) -> None:
    body = r"def main(): raise UserError('--data: \x1b[31mred')"
    assert job.run(body, rank=0) == (2, "", "error: --data: \\x1b[31mred\n")


def test_another_ranks_users_error_is_shown_when_rank_0_has_none(job: Rank) -> None:
    code, _, err = job.run("def main(): raise UserError('--data: no such path')", rank=1)
    assert (code, err) == (2, "[rank 1] error: --data: no such path\n")


STOPPABLE = """
def main():
    with StopFlag() as flag:
        print("ready", flush=True)
        while not flag.requested:
            beat("compute", 1)
            time.sleep(0.05)
        print("saved", flush=True)
        return flag.exit_code
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_supervisor_lets_the_work_save(
    job: Rank, number: signal.Signals, code: int
) -> None:
    process = job.start(STOPPABLE, rank=0)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (code, "saved\n", "")


def test_a_second_signal_ends_it_at_once(job: Rank) -> None:
    body = """
def main():
    flag = StopFlag()
    print("ready", flush=True)
    time.sleep(1000)
    time.sleep(1000)
"""
    process = job.start(body, rank=0)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    time.sleep(1.5)  # signals within a second of each other are one request, sent twice
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    assert job.left() == []


def test_the_work_dies_with_its_supervisor(job: Rank) -> None:
    process = job.start("def main():\n    print('up', flush=True)\n    time.sleep(1000)", rank=0)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.kill()
    process.communicate(timeout=120)
    assert job.left() == []


def test_what_the_work_started_ends_with_it(job: Rank) -> None:
    body = """
def main():
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    raise ValueError("leaves children behind")
"""
    assert job.run(body)[0] == 1
    assert job.left() == []


def test_asked_for_two_ranks_and_got_one(job: Rank) -> None:
    body = "def main(): print('must not run')"
    code, out, err = job.run(body, size=1, HVDCORE_EXPECTED_SIZE="2")
    assert (code, out) == (2, "")
    assert "asked for 2 ranks, but the launcher started 1" in err


def test_no_temporary_file_stays(job: Rank) -> None:
    (job.folder / "tmp").mkdir()
    variables = {"TMPDIR": str(job.folder / "tmp"), "HVDCORE_LOG_DIR": ""}
    assert job.run("def main(): print('fine')", **variables)[0] == 0
    assert list((job.folder / "tmp").iterdir()) == []
    code, _, err = job.run("def main(): raise ValueError('x')", **variables)
    (log,) = (job.folder / "tmp").iterdir()
    assert code == 1
    assert str(log) in err, "a log that was named to the user stays"


def test_the_supervisor_is_light(job: Rank) -> None:
    code = (
        "import sys, hvdcore.launch.supervisor.supervise, hvdcore.launch.supervisor.supervise\n"
        "heavy = {'numpy', 'torch', 'tensorflow', 'horovod', 'pydantic', 'typer', 'rich'}\n"
        "sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_killed_rank_leaves_no_semaphore_behind(job: Rank) -> None:
    """The process that deletes them outlives the others for a moment, and is not killed."""
    before = set(os.listdir("/dev/shm"))
    body = """
import multiprocessing

def main():
    lock = multiprocessing.get_context("spawn").Lock()
    made = [name for name in os.listdir("/dev/shm") if name.startswith("sem.mp-")]
    print(len(made), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    code, out, _ = job.run(body, rank=0)
    assert (code, int(out) >= 1) == (1, True), "control: there was one"
    assert job.left() == []
    left = {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("sem.mp-")}
    assert left == set()
