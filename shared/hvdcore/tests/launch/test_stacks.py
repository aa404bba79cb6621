"""Stacks on demand: of a real job in which one rank is stuck, by command and by the watchdog."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hvdcore.cli import app
from hvdcore.launch.job.controllers import horovod_library
from hvdcore.launch.job.monitor import Monitor
from hvdcore.launch.job.stacks import standing_line
from hvdcore.launch.stacks import print_stacks
from hvdcore.launch.supervisor.channel import Listener, connect
from hvdcore.launch.supervisor.stacks import RankStacks, StacksAnswer, catches_signal, place_of
from hvdcore.runtime.heartbeat import Beat
from hvdcore.testing.ranks import start_ranks

STUCK = """
import sys, time
from hvdcore.launch.supervisor.supervise import run_as_rank

def lose_the_way():
    print("stuck", file=sys.stderr, flush=True)
    time.sleep(10_000)

def main():
    import numpy as np
    import hvdcore.torch
    from hvdcore.runtime.heartbeat import beat
    world = hvdcore.torch.init()
    for step in range(4):
        beat("compute", step)
        if step == 3 and world.rank == 1:
            lose_the_way()
        if step == 3:
            print("stuck", flush=True)
        hvdcore.torch.allreduce_sum(np.ones(5))

sys.exit(run_as_rank(main))
"""
COMMAND = [sys.executable, "-m", "hvdcore", "stacks"]
LIMIT_SECONDS = 400.0


def until(reached: object, what: str) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not reached():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@pytest.mark.ranks
@pytest.mark.skipif(horovod_library() is None, reason="Horovod is not installed")
def test_a_rank_that_is_stuck_is_found(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    script = tmp_path / "stuck.py"
    script.write_text(STUCK, encoding="utf-8")
    job = start_ranks(
        [sys.executable, str(script)], 2, folder=tmp_path, controller="gloo", stall_timeout=30
    )
    log = tmp_path / "logs" / "rank-1.log"
    until(lambda: "stuck" in job.read("stdout") and "stuck" in log.read_text(), "no hang")
    os.kill(job.process.pid, signal.SIGUSR1)
    until(
        lambda: job.read("stderr").startswith("where the ranks stand: rank 0 waits in"), "SIGUSR1"
    )
    asked = subprocess.run(
        [*COMMAND, str(job.process.pid)], capture_output=True, text=True, timeout=120, check=False
    )
    assert job.process.poll() is None  # the run goes on
    assert asked.returncode == 0, asked
    heads = [line for line in asked.stdout.splitlines() if line.startswith("--- rank ")]
    assert "waits in hvdcore.sum.torch.float64.(5,) of step 3 at stuck.py:" in heads[0]
    assert "in phase 'compute' of step 3 at stuck.py:7 (lose_the_way)" in heads[1]
    assert asked.stdout.count("in lose_the_way") == 1
    result = job.wait(LIMIT_SECONDS)
    told = [line for line in result.stderr.splitlines() if line.startswith("where the ranks")]
    assert len(told) == 2, result  # by the signal, and by the watchdog
    assert all("rank 0 waits in hvdcore.sum" in line for line in told)
    assert all("rank 1 in phase 'compute'" in line for line in told)
    # By the signal, the command and the watchdog: of rank 0 as well, before it became a victim.
    counts = [result.logs[rank].count("(most recent call first)") for rank in (0, 1)]
    assert min(counts) >= 3
    assert result.returncode == 1
    assert result.orphans == ()


def test_a_process_without_a_handler_is_not_signaled() -> None:
    """The control: the signal itself would end it."""
    stacks = RankStacks(0)
    with subprocess.Popen(["sleep", "600"]) as process:
        answer = stacks.wait(process.pid, Beat(0, -1, "none", 0), "")
        assert process.poll() is None
        assert not catches_signal(process.pid, signal.SIGUSR1)
        assert answer.text.startswith(("no stacks: it does not answer", "it does not answer"))
        process.send_signal(signal.SIGUSR1)
        assert process.wait(60) == -signal.SIGUSR1
    stacks.close()


def test_a_rank_writes_its_stacks_more_than_once_and_lives() -> None:
    stacks = RankStacks(3)
    code = (
        "from hvdcore.runtime.stacks import write_stacks_for_supervisor as w; w()\n"
        "import time; print('ready', flush=True); time.sleep(600)"
    )
    env = {**os.environ, **stacks.file.variables}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(2):
            answer = stacks.wait(process.pid, Beat(4, 7, "compute", process.pid), "")
            assert answer.text.count('File "<string>", line 2 in <module>') == 1
            assert answer.rank == 3
        process.kill()
    stacks.close()


DUMP = """Thread 0x01 (most recent call first):
  File "/env/lib/python3.11/site-packages/horovod/torch/mpi_ops.py", line 9 in synchronize

Current thread 0x02 (most recent call first):
  File "/env/lib/python3.11/site-packages/horovod/common/collectives.py", line 223 in finish
  File "/env/lib/python3.11/site-packages/horovod/torch/mpi_ops.py", line 126 in synchronize
  File "/env/lib/python3.11/site-packages/horovod/torch/mpi_ops.py", line 332 in broadcast
  File "/srv/code/train.py", line 56 in main
  File "/srv/code/train.py", line 72 in <module>
"""


@pytest.mark.parametrize(
    ("phase", "collective", "expected"),
    [
        ("communicate", "gradients.3", "waits in gradients.3 of step 8 at train.py:56 (main)"),
        ("communicate", "", "waits in broadcast of step 8 at train.py:56 (main)"),
        ("compute", "", "in broadcast of step 8 at train.py:56 (main)"),
    ],
)
def test_the_place_in_a_few_words(phase: str, collective: str, expected: str) -> None:
    assert place_of(DUMP, Beat(1, 8, phase, 2), collective) == expected


def test_the_line_names_the_ranks_in_order() -> None:
    answers = [StacksAnswer(1, "b", "in phase 'data'", ""), StacksAnswer(0, "a", "waits in x", "")]
    line = standing_line(answers)
    assert line.startswith("where the ranks stand: rank 0 waits in x; rank 1 in phase 'data' (")


def test_nothing_to_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = tmp_path / "run"
    ended.mkdir()
    (ended / "config.json").write_text("{}", encoding="utf-8")
    for given, error in (
        (tmp_path / "none", "no such run directory"),
        (ended, "no run is training there"),
        (os.getpid(), "no job of hvdcore's launcher"),
    ):
        with pytest.raises(SystemExit) as exit_:
            app(["stacks", str(given)])
        assert exit_.value.code == 2
        assert error in capsys.readouterr().err


ALONE = """
import sys, time
from pathlib import Path
from hvdcore.run.lock import hold_run_dir, run_dirs_held
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import setup_logging

def wait_here():
    print("ready", flush=True)
    time.sleep(600)

with run_dirs_held():
    run = RunDir.create(Path(sys.argv[1]), "hvdcore", {})
    hold_run_dir(run.path)
    setup_logging(World(0, 1, 0, 1, "none"), run.path)
    wait_here()
"""


def test_a_single_rank_without_a_launcher_is_asked_directly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", ALONE, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert print_stacks(str(tmp_path / "run")) == 0
        assert process.poll() is None
        process.kill()
    out = capsys.readouterr().out
    assert out.startswith(f"--- rank 0, from {tmp_path / 'run' / 'logs' / 'rank-0.log'}:")
    assert "in wait_here" in out


def listen_until(monitor: Monitor, reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        monitor.hear()
        time.sleep(0.01)


@pytest.mark.parametrize("knows_the_token", [True, False])
def test_over_the_network_only_who_knows_the_token_may_ask(
    tmp_path: Path, knows_the_token: bool
) -> None:
    """As with ranks on other hosts: rank 1 answers, rank 0's supervisor has ended meanwhile."""
    monitor = Monitor(Listener(tmp_path, "127.0.0.1"), 2, 60.0, lambda fd, raw: None)
    with contextlib.ExitStack() as stack:
        stack.callback(monitor.close)
        ranks, asker = [], None
        for rank in (0, 1, None):
            asker, token = connect(monitor.listener.address)
            stack.callback(asker.close)
            if rank is not None:
                asker.send({"type": "hello", "rank": rank, "token": token})
                ranks.append(asker)
        listen_until(monitor, lambda: monitor.job.all_here)
        asker.send({"type": "ask-stacks", "token": token if knows_the_token else "guessed"})
        if not knows_the_token:
            listen_until(monitor, lambda: asker.receive() == [] and not asker.open)
            assert [channel.receive() for channel in ranks] == [[], []]
            return
        listen_until(monitor, lambda: monitor.stacks.is_running)
        assert [[m["type"] for m in channel.receive()] for channel in ranks] == [["stacks"]] * 2
        ranks[0].close()
        ranks[1].send(StacksAnswer(1, "b", "in phase 'data'", "its frames").as_message())
        listen_until(monitor, lambda: not monitor.stacks.is_running)
        monitor.hear()
        told = asker.receive()
    assert [message["type"] for message in told] == ["stacks", "done"]
    assert (told[0]["rank"], told[0]["host"], told[0]["text"]) == (1, "b", "its frames")
