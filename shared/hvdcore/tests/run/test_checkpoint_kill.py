"""A writer killed with SIGKILL at any moment loses nothing that it had announced as saved."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvdcore.run.checkpoint import clean_up, latest_valid

WRITER = """
import itertools, pathlib, sys
from hvdcore.run.checkpoint import latest_valid, save

directory = pathlib.Path(sys.argv[1])
found = latest_valid(directory)

def write(folder):
    for part in range(8):
        with (folder / f"part-{part}.bin").open("wb", buffering=0) as file:
            for _ in range(4):
                file.write(bytes([step % 251]) * 20_000)

for step in itertools.count(found.step + 1 if found else 1):
    save(directory, step, write, keep=2, is_best=step % 5 == 0)
    print(step, flush=True)
"""

IN_PLACE = WRITER.replace(
    "save(directory, step, write, keep=2, is_best=step % 5 == 0)",
    "directory.mkdir(exist_ok=True); write(directory)",
)


def run_and_kill(code: str, directory: Path, delay_seconds: float) -> int:
    """Start the writer, let it save once, kill it a moment later; the last step it announced."""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        reported = int(writer.stdout.readline())
        time.sleep(delay_seconds)
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split("\n")
    return int(rest[-2]) if len(rest) > 1 else reported


def kill_repeatedly(directory: Path, times: int) -> int:
    """How many of the kills fell into a write. After each, what was announced must be there."""
    moments = random.Random(7)
    num_mid_write = 0
    for _ in range(times):
        reported = run_and_kill(WRITER, directory, moments.uniform(0.0, 0.05))
        found = latest_valid(directory)
        assert found is not None
        # The kill may fall between the rename and the announcement, never before the rename.
        assert found.step in (reported, reported + 1)
        for part in range(8):
            expected = bytes([found.step % 251]) * 80_000
            assert found.file(f"part-{part}.bin").read_bytes() == expected
        num_mid_write += bool(clean_up(directory))
        assert latest_valid(directory) == found
    return num_mid_write


def test_five_kills(tmp_path: Path) -> None:
    kill_repeatedly(tmp_path / "checkpoints", 5)


@pytest.mark.proof
def test_twenty_kills_some_of_them_during_a_write(tmp_path: Path) -> None:
    assert kill_repeatedly(tmp_path / "checkpoints", 20) > 0


def test_control_a_writer_in_place_leaves_a_mixture(tmp_path: Path) -> None:
    moments = random.Random(7)
    for attempt in range(40):
        directory = tmp_path / str(attempt)
        run_and_kill(IN_PLACE, directory, moments.uniform(0.0, 0.05))
        parts = [directory / f"part-{part}.bin" for part in range(8)]
        if len({path.read_bytes() for path in parts}) > 1:
            return
    pytest.fail("no kill fell into a write: the proof above would prove nothing")
