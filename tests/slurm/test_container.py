"""The script for a container, whose ranks Slurm itself starts: on a real Slurm with PMIx.

Apptainer is no package of the system that the tests run on. A program of the test's in its place
takes the same command line and starts the same ranks, outside of an image.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from hvdcore.testing.runs import Run
from hvdcore.testing.slurm import SlurmRun, TestCluster

pytestmark = pytest.mark.ranks
APPTAINER = """#!/bin/sh
[ "$1 $2 $4 $6" = "exec --bind --pwd image.sif" ] && [ "$3" = "$PWD" ] && cd "$5" || exit 99
shift 6
exec "$@"
"""


@pytest.fixture
def contained(training: SlurmRun, cluster: TestCluster, tmp_path: Path) -> SlurmRun:
    """A training whose jobs find a program `apptainer`."""
    if reason := cluster.missing_for_pmix():
        pytest.skip(reason)
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(APPTAINER, encoding="utf-8")
    program.chmod(0o755)
    env = {**training.env, "PATH": f"{program.parent}{os.pathsep}{training.env['PATH']}"}
    return SlurmRun(cluster, training.folder, training.path, training.command, env)


def test_near_the_time_limit_its_ranks_save_and_go_on(
    contained: SlurmRun, undisturbed: Run
) -> None:
    script = contained.write_script("--nodes=2", "--time=10", "--container=image.sif")
    number = contained.submit(str(script))
    contained.wait_for_checkpoint(number)
    contained.signal_ranks(signal.SIGSTOP)
    contained.cluster.ask("scancel", "--batch", "--signal=USR1", number)
    contained.signal_ranks(signal.SIGCONT)
    run = contained.finish_restarted(number)
    assert run.report["weights_sha256"] == undisturbed.report["weights_sha256"]
    assert run.report["size"] == 2
