"""A host whose cable is cut closes no connection: it is noticed all the same, at both ends.

No framework, and no step: what is lost here is a host, not a message between ranks.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from hvdcore.testing.hosts import TestNetwork
from hvdcore.testing.runs import RunOnHosts, ranks_environment

pytestmark = [pytest.mark.ranks, pytest.mark.proof]
RANK = """
import os, sys, time
from hvdcore.runtime.heartbeat import beat
from hvdcore.launch.supervisor.supervise import run_as_rank

def main():
    print("under way", file=sys.stderr, flush=True)
    while "HVDCORE_RESTART" not in os.environ:
        beat("communicate")
        time.sleep(0.1)

sys.exit(run_as_rank(main))
"""


def test_a_host_that_is_cut_off_is_left_out_and_ends_its_ranks(
    tmp_path: Path, network: TestNetwork
) -> None:
    file = tmp_path / "rank_of_a_test.py"
    file.write_text(RANK, encoding="utf-8")
    command = [sys.executable, str(file)]
    run = RunOnHosts(network, tmp_path, tmp_path / "run", command, ranks_environment({}))
    first, second = network.add("first", "eth0"), network.add("second", "ens7")
    options = ("--min-np", "1", "--hosts", "first:1,second:1", "--controller", "gloo")
    run.start(first, *options)
    run.wait_for("under way")
    while not second.processes(file.name):
        time.sleep(0.1)
    second.cut_off()
    ended = run.finish()
    assert ended.returncode == 0, ended.stderr
    said = [line for line in ended.stderr.splitlines() if not line.startswith("host ")]
    assert said[1].startswith("rank 1 is gone: "), said
    assert said[2].endswith("resuming from the newest checkpoint with 1 ranks on first:1"), said
    deadline = time.monotonic() + 120
    while second.processes(file.name):
        assert time.monotonic() < deadline, "a rank on the host that was cut off goes on"
        time.sleep(0.5)
