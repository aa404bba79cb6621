"""Times of every rank, and a rank that is slower than the others: by hand, and for real."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import horovod_library
from hvdcore.metrics.rank_times import RankTimes, SlowRankWatch
from hvdcore.metrics.step_times import StepTimes
from hvdcore.run.rank_table import rank_table
from hvdcore.runtime.world import World
from hvdcore.testing.ranks import start_ranks

LIMIT_SECONDS = 300.0


def told(watch: SlowRankWatch, *intervals: list[float]) -> list[list[tuple[int, bool]]]:
    return [[(c.rank, c.is_slow) for c in watch.look(seconds)] for seconds in intervals]


def test_a_slow_rank_is_told_once_and_so_is_its_recovery() -> None:
    slow, even = [0.10, 0.10, 0.15, 0.10], [0.10, 0.10, 0.10, 0.10]
    between = [0.10, 0.10, 0.12, 0.10]  # above the bound of recovery, below that of slowness
    answers = told(SlowRankWatch(4, persist_seconds=0), *[slow] * 5, *[between] * 5, *[even] * 4)
    assert answers == [[], [], [(2, True)], *[[]] * 9, [(2, False)], []]


@pytest.mark.parametrize(
    "intervals",
    [
        [[0.1, 0.2], [0.1, 0.2], [0.1, 0.1]] * 4,  # now and then is not persistently
        [[0.1, 0.124]] * 9,  # within what ranks differ by
        [[0.0001, 0.0009]] * 9,  # noise of steps that take no time
        [[0.3]] * 9,  # a single rank
    ],
)
def test_control_nobody_is_told(intervals: list[list[float]]) -> None:
    assert not any(told(SlowRankWatch(len(intervals[0]), persist_seconds=0), *intervals))


def test_short_intervals_are_not_persistent() -> None:
    """Three seconds' intervals make twenty in the seventh."""
    watch = SlowRankWatch(2)
    assert [len(watch.look([0.1, 0.2], 3.0)) for _ in range(9)] == [0, 0, 0, 0, 0, 0, 1, 0, 0]


def test_a_rank_alone_has_its_own_figures_and_writes_no_lists() -> None:
    ranks = RankTimes(World(0, 1, 0, 1, "none"), lambda values: values, list)
    figures = ranks.exchange(StepTimes(data=1.0, communicate=2.0, total=8.0), 4, extra=5.0)
    assert (figures.work_seconds, figures.wait_seconds, figures.extra) == ([1.5], [0.5], [5.0])
    assert figures.to_json() == {}


def test_the_table_has_means_over_the_run() -> None:
    rows = [
        {"step": 1, "rank_work_seconds": [9.0], "rank_wait_seconds": [0.0]},  # one rank, earlier
        {"step": 2, "rank_work_seconds": [0.1, 0.3], "rank_wait_seconds": [0.2, 0.0]},
        {"step": 3, "rank_work_seconds": [0.3, 0.5], "rank_wait_seconds": [0.2, 0.0]},
    ]
    table = rank_table(rows)
    assert table is not None
    assert table.rows == [["0", "0.2000", "0.2000", "50%"], ["1", "0.4000", "0.0000", "100%"]]
    assert rank_table([{"step": 1, "loss": 1.0}]) is None


SLOWED = """
import os, sys, time
from pathlib import Path
from hvdcore.launch.supervisor.supervise import run_as_rank

def main():
    import platform
    import hvdcore.torch
    from hvdcore.metrics.rank_times import RankTimes
    from hvdcore.metrics.step_times import StepTimes
    from hvdcore.torch import allreduce_sum, any_rank, gather_objects
    world = hvdcore.torch.init()
    ranks = RankTimes(world, allreduce_sum, lambda: gather_objects(platform.node()), 2.0)
    Path(sys.argv[1], f"pid-{world.rank}").write_text(str(os.getpid()))
    stop = Path(sys.argv[1], "stop")
    while True:
        times = StepTimes()
        for _ in range(5):
            began = time.perf_counter()
            time.sleep(0.02)
            worked = time.perf_counter()
            done = any_rank(stop.exists())
            ended = time.perf_counter()
            times += StepTimes(communicate=ended - worked, total=ended - began)
        figures = ranks.exchange(times, 5)
        for line in figures.lines if world.is_root else []:
            print(line, flush=True)
        if done:
            return 0

sys.exit(run_as_rank(main))
"""


@pytest.mark.ranks
@pytest.mark.skipif(horovod_library() is None, reason="Horovod is not installed")
def test_a_rank_that_is_slowed_by_bursts_of_sigstop_is_named(tmp_path: Path) -> None:
    """Rank 1 is stopped for most of each step until it is named, and then let alone."""
    pytest.importorskip("torch")
    script = tmp_path / "slowed.py"
    script.write_text(SLOWED, encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path)]
    job = start_ranks(command, 2, folder=tmp_path, controller="gloo", stall_timeout=120)
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (tmp_path / "pid-1").exists() or not (tmp_path / "pid-1").read_text():
        assert time.monotonic() < deadline, job.read("stderr")
        time.sleep(0.1)
    pid = int((tmp_path / "pid-1").read_text())
    while "rank 1 on" not in job.read("stdout"):
        assert time.monotonic() < deadline, job.read("stdout")
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.2)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.03)
    while "no longer" not in job.read("stdout"):
        assert time.monotonic() < deadline, job.read("stdout")
        time.sleep(0.1)
    (tmp_path / "stop").touch()
    result = job.wait(LIMIT_SECONDS).check()
    lines = [line for line in result.stdout.splitlines() if line.startswith("rank 1 ")]
    host = os.uname().nodename
    assert lines[0].startswith(f"rank 1 on {host} is ")
    assert "% slower than the others (" in lines[0]
    assert lines[1].startswith(f"rank 1 on {host} is no longer slower")
