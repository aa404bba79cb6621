from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hvdcore.runtime.environment import HEARTBEAT
from hvdcore.runtime.heartbeat import Beat, HeartbeatPage, beat

CHILD = """
from pathlib import Path
from hvdcore.runtime.heartbeat import beat, tell_log_path
beat("start")
beat("compute", 7)
beat("communicate")
tell_log_path(Path("/some/where/rank-0.log"))
"""


def test_a_rank_writes_what_its_supervisor_reads() -> None:
    page = HeartbeatPage()
    assert page.read() == Beat(0, 0, "none", 0)
    assert page.log_path() is None
    env = {**os.environ, HEARTBEAT: page.path}
    child = subprocess.Popen([sys.executable, "-c", CHILD], env=env)
    assert child.wait(60) == 0
    assert page.read() == Beat(3, 7, "communicate", child.pid)
    assert page.log_path() == Path("/some/where/rank-0.log")
    page.close()


def test_without_a_supervisor_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HEARTBEAT, raising=False)
    beat("compute", 1)


def test_a_page_that_has_gone_is_no_error() -> None:
    env = {**os.environ, HEARTBEAT: "/proc/1/fd/999"}
    assert subprocess.run([sys.executable, "-c", CHILD], env=env, check=False).returncode == 0


def test_an_unknown_phase_is_a_mistake_in_the_program() -> None:
    page = HeartbeatPage()
    env = {**os.environ, HEARTBEAT: page.path}
    code = "from hvdcore.runtime.heartbeat import beat; beat('napping')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    page.close()
    assert "KeyError: 'napping'" in done.stderr
