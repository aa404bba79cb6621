"""How a command reaches another host: ssh, or srun between the nodes of one allocation."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hvdcore.launch.hosts.remote_shell import remote_shell, srun_environment

ALLOCATION = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_TASKS_PER_NODE": "1(x2)"}
# In place of srun: prints its arguments, and runs the shell that they end with.
SRUN = """#!/bin/sh
echo "$@" > "$0.arguments"
while [ "$1" != sh ]; do shift; done
exec "$@"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """First on PATH, with a program `srun`."""
    (tmp_path / "srun").write_text(SRUN, encoding="utf-8")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_srun_reaches_the_nodes_of_the_allocation_and_ssh_all_others(folder: Path) -> None:
    assert remote_shell("n2", ALLOCATION)[0] == "srun"
    assert "--nodelist=n2" in remote_shell("n2", ALLOCATION)
    assert remote_shell("elsewhere", ALLOCATION)[0] == "ssh"
    assert remote_shell("n2", {})[0] == "ssh"


def test_ssh_is_taken_where_there_is_no_srun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert remote_shell("n2", ALLOCATION)[0] == "ssh"


def test_the_stand_in_takes_what_horovodrun_writes(folder: Path) -> None:
    env = srun_environment(folder, {"PATH": "elsewhere"})
    assert env["PATH"] == f"{folder}:elsewhere"
    options = ["-o", "PasswordAuthentication=no", "-o", "StrictHostKeyChecking=no"]
    line = ["ssh", *options, "n2", "-o", "ConnectTimeout=10", "echo", "'a  b';", "exit", "3"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "a  b\n", "")
    assert "--nodelist=n2 sh -c" in (folder / "srun.arguments").read_text("utf-8")
