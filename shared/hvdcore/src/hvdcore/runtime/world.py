"""The place of this process in the job, read from the environment that its launcher set.

Knows horovodrun, Open MPI, MPICH and Slurm.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hvdcore.errors import UserError

__all__ = [
    "Controller",
    "World",
    "check_size",
    "is_single_slurm_task",
    "slurm_counts",
    "slurm_slots",
    "slurm_tasks",
    "world_from_environment",
]

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


Controller = Literal["mpi", "gloo", "none"]

# The launcher's names for rank, size, local rank and local size, in the order they are asked.
_GLOO = ("HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL_RANK", "HOROVOD_LOCAL_SIZE")
_OPEN_MPI = (
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
)
_HYDRA = ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
# Steps numbered from here on are Slurm's own (batch script, interactive shell), not srun's tasks.
_SLURM_FIRST_SPECIAL_STEP = 0xFFFFFF00


@dataclass(frozen=True)
class World:
    """A rank's place: `rank` of `size` in the job, `local_rank` of `local_size` on its host.

    `controller` is what Horovod will talk through; 'none' means that no launcher started us.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    controller: Controller

    @property
    def is_root(self) -> bool:
        """True on the one rank that writes files and talks to the user."""
        return self.rank == 0


def world_from_environment(env: Mapping[str, str] | None = None) -> World:
    """The world that horovodrun, mpirun, mpiexec or srun put this process in; else one rank alone.

    Raises:
        UserError: the launcher's variables contradict each other or cannot be read.
    """
    env = os.environ if env is None else env
    if is_single_slurm_task(env):
        return World(0, 1, 0, 1, "none")
    for names, controller in ((_GLOO, "gloo"), (_OPEN_MPI, "mpi"), (_HYDRA, "mpi")):
        if names[0] in env and names[1] in env:
            return _world(env, names, "gloo" if controller == "gloo" else "mpi")
    return _slurm_world(env) or World(0, 1, 0, 1, "none")


def _world(env: Mapping[str, str], names: tuple[str, ...], controller: Controller) -> World:
    rank, size = _number(env, names[0]), _number(env, names[1])
    local_rank = _number(env, names[2]) if names[2] in env else rank
    local_size = _number(env, names[3]) if names[3] in env else size
    world = World(rank, size, local_rank, local_size, controller)
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise UserError(
            f"{names[0]}: the launcher's variables do not fit together ({world}); "
            "start the job again, or unset them to run one rank"
        )
    return world


def is_single_slurm_task(env: Mapping[str, str]) -> bool:
    """A step of one task, such as `srun --pty bash`, is a place to start ranks from: no launcher
    of ranks, though it sets all of Slurm's variables, and PMI's."""
    launched = any(names[0] in env for names in (_GLOO, _OPEN_MPI))
    return _is_slurm_step(env) and not launched and _slurm_size(env) == 1


def _is_slurm_step(env: Mapping[str, str]) -> bool:
    step = env.get("SLURM_STEP_ID", "")
    return step.isdigit() and int(step) < _SLURM_FIRST_SPECIAL_STEP and "SLURM_PROCID" in env


def _slurm_size(env: Mapping[str, str]) -> int:
    name = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in env else "SLURM_NTASKS"
    return _number(env, name)


def _slurm_world(env: Mapping[str, str]) -> World | None:
    """srun's tasks. A batch script has SLURM_PROCID too, but it is not a rank of anything."""
    if not _is_slurm_step(env):
        return None
    size_name = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in env else "SLURM_NTASKS"
    if _number(env, size_name) > 1 and "PMIX_RANK" not in env and "PMI_RANK" not in env:
        raise UserError("srun: the tasks cannot find each other; use srun --mpi=pmix")
    local = {**env, "SLURM_LOCAL_SIZE": str(_slurm_tasks_here(env, _number(env, size_name)))}
    return _world(local, ("SLURM_PROCID", size_name, "SLURM_LOCALID", "SLURM_LOCAL_SIZE"), "mpi")


def _slurm_tasks_here(env: Mapping[str, str], size: int) -> int:
    """Tasks on this node, from Slurm's run lengths: '2(x3),1' is 2, 2, 2, 1."""
    runs = env.get("SLURM_STEP_TASKS_PER_NODE") or env.get("SLURM_TASKS_PER_NODE") or str(size)
    counts = slurm_counts(runs)
    node = int(env.get("SLURM_NODEID", "0"))
    return counts[node] if node < len(counts) else counts[-1]


def _number(env: Mapping[str, str], name: str) -> int:
    try:
        return int(env[name])
    except (KeyError, ValueError):
        raise UserError(
            f"{name}: expected a whole number, got {env.get(name)!r}; is a launcher only "
            "partly set up?"
        ) from None


def check_size(world: World, expected: int | None) -> None:
    """Asking for N ranks and getting another number is an error. `None` accepts any number.

    Raises:
        UserError: `world.size` is not `expected`.
    """
    if expected is not None and world.size != expected:
        raise UserError(
            f"--np: asked for {expected} ranks, but the launcher started {world.size}; "
            "leave out --np inside horovodrun, mpirun or srun, or give both the same number"
        )
