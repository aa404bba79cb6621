"""Owns which hosts a command line means: named ones, a Slurm allocation's, or this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hvdcore.errors import UserError
from hvdcore.launch.hosts.hostfile import parse_hostfile
from hvdcore.launch.hosts.hosts import Hosts, parse_hosts
from hvdcore.runtime.slurm import slurm_slots, slurm_tasks

__all__ = ["named_hosts"]


def named_hosts(
    np: int | None,
    hosts: str | None,
    hostfile: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Hosts:
    """The hosts that the options name, else those of a Slurm allocation, else this machine.

    Args:
        np: number of ranks; None means all slots, or the tasks of an allocation.
        env: with Slurm's variables; None looks at no allocation.

    Raises:
        UserError: what is given cannot be read, or has fewer slots than ranks.
    """
    if np is not None and np < 1:
        raise UserError(f"--np: got {np}; give the number of ranks, 1 or more")
    if hosts and hostfile:
        raise UserError("--hostfile: give --hosts or --hostfile, not both")
    if hostfile:
        found = parse_hostfile(hostfile)
    elif hosts:
        found = parse_hosts(hosts)
    else:
        found = _allocated(np, env or {})
    if np is not None:
        found.require_slots(np)
    return found


def _allocated(np: int | None, env: Mapping[str, str]) -> Hosts:
    tasks = slurm_tasks(env)
    if len(tasks) > 1:
        return Hosts(tasks if np is None else slurm_slots(env) or tasks)
    # An allocation of one node is this machine, with as many ranks as are asked for.
    return Hosts({"localhost": np or sum(tasks.values()) or 1})
