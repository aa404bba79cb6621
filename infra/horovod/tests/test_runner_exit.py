"""How a job ends: exit codes, who is named, and what is left behind."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import psutil
import pytest
from runner_jobs import has_mpirun, horovodrun, program, run, running, tree, wait_until, with_ssh

pytest.importorskip("horovod.runner")

GLOO = ("-np", "2", "--disable-cache", "--gloo")
REMOTE = (*GLOO, "-H", "localhost:1,worker-a:1", "--network-interfaces", "lo")
MPI = ("-np", "2", "--disable-cache", "--mpi")


@pytest.mark.ranks
@pytest.mark.parametrize("launcher", [GLOO, MPI], ids=["gloo", "mpi"])
@pytest.mark.parametrize(("order", "code"), [("exit:1:7", 7), ("exit:0:3", 3), ("kill:1", 137)])
def test_the_exit_code_is_the_failed_ranks(
    launcher: tuple[str, ...], order: str, code: int, tmp_path: Path
) -> None:
    if "--mpi" in launcher and not has_mpirun():
        pytest.skip("mpirun is not installed")
    done = run(horovodrun(*launcher, *program("runner_rank.py", tmp_path, order)))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if "--gloo" in launcher:
        rank = order.split(":")[1]
        assert f"Process name: {rank}\nExit code: {code}\n" in done.stderr


@pytest.mark.ranks
def test_the_exit_code_of_another_host(tmp_path: Path) -> None:
    command = horovodrun(*REMOTE, *program("runner_rank.py", tmp_path, "exit:1:9"))
    done = run(command, with_ssh(tmp_path / "bin"))
    assert done.returncode == 9, done.stderr


@pytest.mark.ranks
def test_control_all_is_well(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    assert run(horovodrun(*GLOO, *program("runner_rank.py", tmp_path, "wait"))).returncode == 0


WRONG = {
    "no command": ([], 2, "no command"),
    "hosts": (["-H", "a b", "true"], 2, "Invalid host"),
    "too few slots": (["-H", "localhost:1", "true"], 2, "Requested more processes (2)"),
    "no such program": (["no-such-program"], 127, "no-such-program: No such file"),
    "no permission": (["/etc/passwd"], 127, "/etc/passwd: Permission denied"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_takes_one_line(what: str) -> None:
    words, code, says = WRONG[what]
    done = run(horovodrun(*GLOO, *words))
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def started(folder: Path) -> bool:
    return len(list(folder.glob("rank-*.json"))) == 2


def are_gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


@pytest.mark.ranks
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_ends_the_ranks(number: signal.Signals, tmp_path: Path) -> None:
    command = horovodrun(*GLOO, *program("runner_rank.py", tmp_path, "wait"))
    with running(command) as process:
        wait_until(lambda: started(tmp_path), "ranks")
        ranks = tree(process.pid)
        process.send_signal(number)
        _, err = process.communicate()
        assert process.returncode == 128 + number
        assert f"horovodrun was ended by {number.name}" in err
        assert are_gone(ranks)


@pytest.mark.ranks
@pytest.mark.parametrize("words", [GLOO, REMOTE], ids=["local", "two hosts"])
def test_a_killed_launcher_is_named_and_takes_its_ranks_along(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    command = horovodrun(*words, *program("runner_rank.py", tmp_path, "wait"))
    with running(command, with_ssh(tmp_path / "bin")) as process:
        wait_until(lambda: started(tmp_path), "ranks")
        launcher, *others = tree(process.pid)
        # Nothing that is shared by a name, which a kill would leave behind in /dev/shm.
        for other in (launcher, *others):
            assert "/dev/shm" not in Path(f"/proc/{other.pid}/maps").read_text()
        process.kill()
        wait_until(lambda: are_gone(others), "the end of the ranks")
        _, err = process.communicate()
    assert f"the launcher itself (process {process.pid}) was killed; no rank has failed" in err


# Rank 1 fails when it may. Rank 0 hears no SIGTERM, and has started a process of its own.
_STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
if os.environ["HOROVOD_RANK"] == "1":
    while not (folder / "may_fail").exists():
        time.sleep(0.05)
    sys.exit(5)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["sleep", "600"])
time.sleep(600)
"""


@pytest.mark.ranks
def test_a_rank_that_hears_no_sigterm_ends_too(tmp_path: Path) -> None:
    with running(horovodrun(*GLOO, sys.executable, "-c", _STUBBORN, tmp_path)) as process:

        def names() -> list[str]:
            try:
                return [p.name() for p in tree(process.pid)]
            except psutil.NoSuchProcess:
                return []

        # The launcher, two ranks with a process in front of each, and what rank 0 started.
        wait_until(lambda: len(names()) >= 6 and "sleep" in names(), "the ranks' processes")
        others = tree(process.pid)[1:]
        (tmp_path / "may_fail").touch()
        assert process.wait(240) == 5
        assert are_gone(others)


@pytest.mark.ranks
def test_a_killed_middleman_ends_its_rank(tmp_path: Path) -> None:
    command = horovodrun(*GLOO, *program("runner_rank.py", tmp_path, "wait"))
    with running(command) as process:
        wait_until(lambda: started(tmp_path), "ranks")
        others = tree(process.pid)[1:]
        next(p for p in others if "middleman.py" in " ".join(p.cmdline())).kill()
        assert process.wait(240) == 137
        assert are_gone(others)


@pytest.mark.ranks
def test_a_reader_who_leaves_stops_no_rank(tmp_path: Path) -> None:
    """`horovodrun ... | head -1`: the job goes on to its end."""
    code = "import os; [print('line', i) for i in range(100000)]; "
    code += f"open(os.path.join({str(tmp_path)!r}, os.environ['HOROVOD_RANK']), 'w')"
    command = horovodrun(*GLOO, sys.executable, "-c", code)
    with running(command) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("[")
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1"}
