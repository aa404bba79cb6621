"""What a launcher makes of signals: one that comes twice at once is one, a later one is another."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from signal import SIGTERM

import pytest

from hvdcore.launch.job.controllers import horovod_library
from hvdcore.testing.runs import ranks_environment

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(horovod_library() is None, reason="Horovod is not installed"),
]
RANK = """
import os, pathlib, sys, time
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.signals import StopFlag
from hvdcore.launch.supervisor.supervise import run_as_rank

def main():
    with StopFlag() as flag:
        pathlib.Path({folder!r}, str(os.getpid())).touch()
        while not flag.requested:
            beat("compute", 1)
            time.sleep(0.01)
        time.sleep({save_seconds})
        print("saved", flush=True)
        return flag.exit_code

sys.exit(run_as_rank(main))
"""


def end_twice(folder: Path, pause: float, saves: bool) -> tuple[int, str, float]:
    """Exit code, output, and the seconds that there were between the two signals."""
    folder.mkdir()
    rank = RANK.format(save_seconds=1 if saves else 1000, folder=str(folder))
    launch = [sys.executable, "-m", "hvdcore", "launch", "--np", "2"]
    process = subprocess.Popen(
        [*launch, sys.executable, "-c", rank],
        env=ranks_environment({}), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while len(list(folder.iterdir())) < 2:  # a launcher that waits for a rank gives up at once
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(SIGTERM)
    sent = time.monotonic()
    time.sleep(pause)
    process.send_signal(SIGTERM)
    seconds = time.monotonic() - sent
    out, _ = process.communicate(timeout=120)
    return process.returncode, out, seconds


@pytest.mark.parametrize(("pause", "saves"), [(0.2, True), (1.5, False)])
def test_a_signal_that_comes_twice(tmp_path: Path, pause: float, saves: bool) -> None:
    for attempt in range(5):
        code, out, seconds = end_twice(tmp_path / str(attempt), pause, saves)
        if not saves or seconds < 0.5:  # else a busy machine made two signals of it
            break
    assert (code, out) == (143, "saved\n" if saves else "")
