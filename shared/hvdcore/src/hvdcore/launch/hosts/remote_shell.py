"""How a command reaches another host: by ssh, or by srun inside a Slurm allocation; as one word.

Compute nodes often refuse ssh, and what ssh starts there escapes Slurm's limits. Open MPI starts
its daemons by srun by itself; horovodrun knows ssh alone, so it finds a replacement on its PATH.

horovodrun and mpirun pass the command through shells, local and remote. So it travels as one word
of letters, digits, '-' and '_', which no shell changes.
"""

from __future__ import annotations

import base64
import json
import shlex
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from hvdcore.errors import UserError
from hvdcore.runtime.environment import python_module
from hvdcore.runtime.world import slurm_slots

__all__ = [
    "decode_command",
    "encode_command",
    "remote_shell",
    "srun_environment",
    "uses_srun",
]

# Linux takes no single argument above 128 KiB, and horovodrun makes one of everything.
_MAX_CHARACTERS = 96 * 1024

# BatchMode: ssh fails where it would ask somebody for a password or about a key.
_SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5")
# One process on all cores of the node, beside whatever else of the job runs there.
_SRUN = (
    "srun", "--quiet", "--nodes=1", "--ntasks=1", "--ntasks-per-node=1", "--overlap",
    "--cpu-bind=none", "--mpi=none",
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
    """What to put before a line of shell so that it runs on a host, asking nobody anything.

    Its standard input is ours.
    """
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
            python_module("hvdcore.launch.job.open_mpi_daemon")
        ),
        # Beside a step that has not quite ended, such as the one before a restart.
        "SLURM_OVERLAP": "1",
    }


def encode_command(command: list[str]) -> str:
    """One shell-proof word for a list of arguments, bytes that are no UTF-8 included.

    Raises:
        UserError: the command is too long for a command line.
    """
    word = base64.urlsafe_b64encode(json.dumps(command).encode("ascii")).decode("ascii")
    if len(word) > _MAX_CHARACTERS:
        raise UserError("command: too long for a command line; put the values in a --config file")
    return word.rstrip("=")


def decode_command(word: str) -> list[str]:
    """The arguments that `encode_command` was given."""
    raw = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))
    command: list[str] = json.loads(raw)
    return command
