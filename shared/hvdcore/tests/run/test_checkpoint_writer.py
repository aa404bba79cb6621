"""Checkpoints written behind the next steps: whole, in order, one at a time, with their errors."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hvdcore.errors import UserError
from hvdcore.run.checkpoint import CheckpointWriter, clean_up, latest_valid

WRITER = """
import itertools, pathlib, sys, threading
from hvdcore.run.checkpoint import CheckpointWriter, latest_valid

directory = pathlib.Path(sys.argv[1])
found = latest_valid(directory)
state = bytearray(80_000)
may_write = threading.Event()
may_write.set()

def write(folder):
    may_write.wait()
    for part in range(8):
        (folder / f"part-{part}.bin").write_bytes(state)

with CheckpointWriter(directory, is_root=True, broadcast=lambda value: value) as writer:
    for step in itertools.count(found.step + 1 if found else 1):
        writer.begin()
        print(step - 1, flush=True)  # the one before is complete
        state[:] = bytes([step % 251]) * len(state)
        writer.save(step, write, meta={}, is_best=step % 5 == 0)
"""
"""Changes its state as soon as it may, and announces a checkpoint when it is complete."""
TOO_EARLY = (
    WRITER.replace("        writer.save(", "        may_write.clear()\n        writer.save(")
    + "        state[:] = bytes([255]) * len(state)\n        may_write.set()\n"
)
"""Changes its state while it is being written, to 255, which no step stands for."""


def run_and_kill(code: str, directory: Path, delay_seconds: float) -> int:
    """Start the writer, kill it a moment after its first announcement; the last announced step."""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(delay_seconds)
        writer.send_signal(signal.SIGKILL)
        return int((first + writer.stdout.read()).split("\n")[-2])


def check(directory: Path, announced: int) -> None:
    """What was announced is there, or the one after it, and as it was when it was saved."""
    found = latest_valid(directory)
    if found is None:
        assert announced == 0
        return
    assert found.step in (announced, announced + 1)
    for part in range(8):
        expected = bytes([found.step % 251]) * 80_000
        assert found.file(f"part-{part}.bin").read_bytes() == expected


def alone(directory: Path, **how: Any) -> CheckpointWriter:
    return CheckpointWriter(directory, is_root=True, broadcast=_through_json, **how)


def _through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def put(state: list[int]) -> Callable[[Path], None]:
    return lambda folder: (folder / "state.json").write_text(json.dumps(state)) and None


def test_kills_in_the_middle_of_a_background_write(tmp_path: Path) -> None:
    directory, moments = tmp_path / "checkpoints", random.Random(7)
    num_mid_write = 0
    for _ in range(5):
        check(directory, run_and_kill(WRITER, directory, moments.uniform(0.0, 0.05)))
        num_mid_write += bool(clean_up(directory))
    assert num_mid_write > 0


def test_control_a_state_that_changes_before_begin_is_noticed(tmp_path: Path) -> None:
    announced = run_and_kill(TOO_EARLY, tmp_path, 0.2)
    with pytest.raises(AssertionError):
        check(tmp_path, announced)


def test_the_step_goes_on_while_it_is_written(tmp_path: Path) -> None:
    may_end = threading.Event()

    def slow(folder: Path) -> None:
        may_end.wait()
        put([1])(folder)

    with alone(tmp_path) as writer:
        writer.begin()
        writer.save(1, slow, meta={"seconds": 1.5})
        assert latest_valid(tmp_path) is None  # and yet `save` has returned
        may_end.set()
        writer.finish()
        found = latest_valid(tmp_path)
        assert found is not None
        assert (found.step, found.meta["seconds"]) == (1, 1.5)


def test_control_in_the_foreground_it_is_complete_at_once(tmp_path: Path) -> None:
    writer = alone(tmp_path, in_background=False)
    writer.begin()
    writer.save(1, put([1]), meta={})
    writer.end()
    assert latest_valid(tmp_path) is not None


def test_leaving_the_block_by_an_error_completes_the_write(tmp_path: Path) -> None:
    def failing() -> None:
        with alone(tmp_path) as writer:
            writer.begin()
            writer.save(3, put([3]), meta={})
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert latest_valid(tmp_path) is not None


@pytest.mark.parametrize("keep", [1, 3])
def test_how_many_are_kept(tmp_path: Path, keep: int) -> None:
    with alone(tmp_path, keep=keep) as writer:
        for step in range(1, 7):
            writer.begin()
            writer.save(step, put([step]), meta={}, is_best=step == 2)
        writer.finish()
    names = [f"step-{step:08d}" for step in (2, *range(7 - keep, 7))]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_an_error_is_told_on_all_ranks_at_the_next_step(tmp_path: Path) -> None:
    sent: list[Any] = []

    def record(value: Any) -> Any:
        sent.append(value)
        return value

    (tmp_path / "file").write_text("")
    root = CheckpointWriter(tmp_path / "file", is_root=True, broadcast=record)
    root.begin()
    root.save(1, put([1]), meta={})
    root.wait()
    assert root.failed
    with pytest.raises(UserError, match="cannot write: a file stands where a folder must be"):
        root.raise_failure()
    assert not root.failed
    other = CheckpointWriter(tmp_path / "file", is_root=False, broadcast=lambda _: sent[-1])
    assert not other.failed
    with pytest.raises(UserError, match="cannot write: a file stands where a folder must be"):
        other.raise_failure()


def test_a_defect_keeps_its_traceback(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise ZeroDivisionError

    writer = alone(tmp_path)
    writer.begin()
    writer.save(1, fail, meta={})
    with pytest.raises(ZeroDivisionError):
        writer.finish()
    assert list(tmp_path.iterdir()) == []
