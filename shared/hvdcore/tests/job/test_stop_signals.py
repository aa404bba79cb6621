"""What a launcher makes of signals: one that comes twice at once is one, a later one is another."""

from __future__ import annotations

import subprocess
import sys
import time
from signal import SIGTERM

import pytest

from hvdcore.job.controllers import horovod_extensions
from hvdcore.testing.runs import ranks_environment

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(not horovod_extensions(), reason="Horovod is not installed"),
]
RANK = """
import sys, time
from hvdcore.heartbeat import beat
from hvdcore.stop import StopFlag
from hvdcore.job.supervise import run_as_rank

def main():
    with StopFlag() as flag:
        print("under way", flush=True)
        while not flag.requested:
            beat("compute", 1)
            time.sleep(0.01)
        time.sleep({save_seconds})
        print("saved", flush=True)
        return flag.exit_code

sys.exit(run_as_rank(main))
"""


@pytest.mark.parametrize(("pause", "saves"), [(0.2, True), (1.5, False)])
def test_a_signal_that_comes_twice(pause: float, saves: bool) -> None:
    rank = RANK.format(save_seconds=1 if saves else 1000)
    launch = [sys.executable, "-m", "hvdcore", "launch", "--np", "2"]
    process = subprocess.Popen(
        [*launch, sys.executable, "-c", rank],
        env=ranks_environment({}), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "under way\n"
    process.send_signal(SIGTERM)
    time.sleep(pause)
    process.send_signal(SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert (process.returncode, out) == (143, "saved\n" if saves else "")
