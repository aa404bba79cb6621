"""Owns reading Slurm's own words for hosts and tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hvdcore.errors import UserError

__all__ = ["slurm_counts", "slurm_slots", "slurm_tasks"]

_GROUP = re.compile(r"(?P<head>[\w.-]+)(\[(?P<numbers>[\d,-]+)\])?(?P<tail>[\w.-]*)(,|$)")


def slurm_slots(env: Mapping[str, str]) -> dict[str, int] | None:
    """Host to slots of the Slurm allocation that we are in, None outside of one.

    Raises:
        UserError: Slurm's variables cannot be read.
    """
    nodes, tasks = env.get("SLURM_JOB_NODELIST"), env.get("SLURM_TASKS_PER_NODE")
    if not nodes or not tasks:
        return None
    try:
        names, counts = _names(nodes), slurm_counts(tasks)
        return dict(zip(names, counts, strict=True))
    except ValueError:
        text = f"SLURM_JOB_NODELIST={nodes} and SLURM_TASKS_PER_NODE={tasks} do not fit together"
        raise UserError(f"--hosts: {text}; name the hosts with --hosts") from None


def slurm_tasks(env: Mapping[str, str]) -> dict[str, int]:
    """Host to tasks that the allocation was asked for, empty outside of one.

    Slurm may count every core as a place for a task; where no tasks were asked for there is one on
    each node, as `srun` starts them.

    Raises:
        UserError: Slurm's variables cannot be read.
    """
    slots = slurm_slots(env) or {}
    return slots if "SLURM_NTASKS" in env else dict.fromkeys(slots, 1)


def _names(text: str) -> list[str]:
    """`n[01-03,7]-ib,m` is n01-ib, n02-ib, n03-ib, n7-ib, m."""
    names: list[str] = []
    position = 0
    while position < len(text):
        match = _GROUP.match(text, position)
        if match is None:
            raise ValueError(text)
        position = match.end()
        for run in (match["numbers"] or "").split(","):
            first, _, last = run.partition("-")
            numbers = range(int(first), int(last or first) + 1) if first else ()
            texts = [f"{number:0{len(first)}}" for number in numbers] or [""]
            names += [match["head"] + text + match["tail"] for text in texts]
    return names


def slurm_counts(text: str) -> list[int]:
    """Slurm's run lengths: `2(x3),1` is 2, 2, 2, 1."""
    counts: list[int] = []
    for run in text.split(","):
        tasks, _, repeat = run.rstrip(")").partition("(x")
        counts += [int(tasks)] * int(repeat or 1)
    return counts
