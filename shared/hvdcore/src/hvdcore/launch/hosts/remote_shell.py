"""How a command reaches another host: by ssh, or by srun inside a Slurm allocation.

Compute nodes often refuse ssh, and what ssh starts there escapes Slurm's limits. Open MPI starts
its daemons by srun by itself; horovodrun knows ssh alone, so it finds a replacement on its PATH.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from hvdcore.runtime.world import slurm_slots

__all__ = ["remote_shell", "srun_environment", "uses_srun"]

# BatchMode: ssh fails where it would ask somebody for a password or about a key.
_SSH = ("ssh", "-n", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5")
# One process on all cores of the node, beside whatever else of the job runs there.
_SRUN = (
    "srun", "--quiet", "--nodes=1", "--ntasks=1", "--ntasks-per-node=1", "--overlap",
    "--cpu-bind=none", "--mpi=none", "--input=none",
)  # fmt: skip
# horovodrun writes options, each with a value, before the host and after it.
_STAND_IN = """#!/bin/sh
host=
while :; do
    case "$1" in
        -*) shift 2 ;;
        *) [ -z "$host" ] || break; host=$1; shift ;;
    esac
done
# At the end of a job Slurm signals this shell; the launcher is the one that stops the ranks.
exec {srun} --nodelist="$host" sh -c "trap : TERM; $*"
"""


def uses_srun(names: Iterable[str], env: Mapping[str, str]) -> bool:
    """Whether all of these hosts are nodes of the Slurm allocation that we are in."""
    nodes = slurm_slots(env) or {}
    return all(name in nodes for name in names) and shutil.which("srun") is not None


def remote_shell(name: str, env: Mapping[str, str]) -> list[str]:
    """What to put before a line of shell so that it runs on a host, asking nobody anything."""
    if uses_srun([name], env):
        return [*_SRUN, f"--nodelist={name}", "sh", "-c"]
    return [*_SSH, name]


def srun_environment(folder: Path, env: Mapping[str, str]) -> dict[str, str]:
    """What horovodrun and mpirun need, beside `env`, to reach the nodes of the allocation by srun.

    Args:
        folder: takes a program `ssh`, which starts its command by srun.
    """
    path = folder / "ssh"
    path.write_text(_STAND_IN.format(srun=shlex.join(_SRUN)), encoding="utf-8")
    path.chmod(0o700)
    return {
        "PATH": f"{folder}:{env['PATH']}",
        "OMPI_MCA_orte_launch_agent": shlex.join(
            [sys.executable, "-m", "hvdcore.launch.job.open_mpi_daemon"]
        ),
        # Beside a step that has not quite ended, such as the one before a restart.
        "SLURM_OVERLAP": "1",
    }
