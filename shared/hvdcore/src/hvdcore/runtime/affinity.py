"""Binding ranks to cores: each rank of a host gets processors of its own, or one NUMA node.

Linux alone. What a cgroup, Slurm, mpirun or `taskset` has left to a rank is never widened, and a
rank that one of them has bound already stays as it is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from hvdcore.runtime.environment import BIND, cgroup_cpu_quota
from hvdcore.runtime.world import World

__all__ = ["BINDINGS", "Binding", "Processor", "bound", "cpu_list", "processors", "rank_cpus"]

Binding = Literal["auto", "numa", "core", "none"]
BINDINGS: tuple[str, ...] = get_args(Binding)
_SYSTEM = Path("/sys/devices/system")


@dataclass(frozen=True, order=True)
class Processor:
    """A logical processor. Those of one core (hyper-threads) have the same `package` and `core`."""

    node: int
    package: int
    core: int
    cpu: int


def processors(cpus: set[int], system: Path = _SYSTEM) -> list[Processor]:
    """Where logical processors are, those that are near each other side by side.

    Args:
        cpus: their numbers.
        system: the kernel's description of the machine.
    """
    nodes = {
        cpu: int(folder.name.removeprefix("node"))
        for folder in (system / "node").glob("node[0-9]*")
        for cpu in cpu_list(_text(folder / "cpulist"))
    }
    found = []
    for cpu in cpus:
        topology = system / "cpu" / f"cpu{cpu}" / "topology"
        package = _number(topology / "physical_package_id", 0)
        found.append(Processor(nodes.get(cpu, 0), package, _number(topology / "core_id", cpu), cpu))
    return sorted(found)


def cpu_list(text: str) -> list[int]:
    """The kernel's list of processors: `0-3,8` is 0, 1, 2, 3, 8."""
    numbers: list[int] = []
    for group in filter(None, text.strip().split(",")):
        first, _, last = group.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _number(path: Path, default: int) -> int:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else default


def rank_cpus(
    here: Sequence[Processor], local_rank: int, local_size: int, binding: Binding
) -> set[int] | None:
    """The processors of one of `local_size` ranks that share `here`; None leaves it unbound.

    `core` gives each rank an equal number of whole cores, next to each other. `numa` gives it the
    node in which its cores would be, where no rank lies across two. `auto` is `numa` on a host of
    several nodes with as many ranks on each, and unbound elsewhere.
    """
    cores = sorted({(p.node, p.package, p.core) for p in here})
    each = len(cores) // local_size
    if binding == "none" or local_size < 2 or each == 0:
        return None
    own = cores[local_rank * each : (local_rank + 1) * each]
    if binding == "core":
        return {p.cpu for p in here if (p.node, p.package, p.core) in own}
    nodes, all_nodes = {core[0] for core in own}, {core[0] for core in cores}
    pays = len(all_nodes) > 1 and local_size % len(all_nodes) == 0
    if len(nodes) > 1 or (binding == "auto" and not pays):
        return None
    return {p.cpu for p in here if p.node in nodes}


@contextlib.contextmanager
def bound(world: World, env: Mapping[str, str]) -> Iterator[set[int] | None]:
    """Processes started inside are bound as the environment asks; gives their processors, or None.

    Memory comes from the node of the processor that first writes it, so it is for a process from
    its start.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    before = os.sched_getaffinity(0)
    cpus = _cpus(world, env, before)
    if cpus is None:
        yield None
        return
    os.sched_setaffinity(0, cpus)
    try:
        yield cpus
    finally:
        os.sched_setaffinity(0, before)


def _cpus(world: World, env: Mapping[str, str], allowed: set[int]) -> set[int] | None:
    binding = env.get(BIND, "auto")
    quota = cgroup_cpu_quota()
    # With a quota the kernel stops a rank that has used its share, wherever it runs: choosing
    # processors for it only hinders it.
    is_limited = quota is not None and quota < len(allowed)
    if binding not in BINDINGS or is_limited or is_bound(env, allowed):
        return None
    chosen = cast(Binding, binding)
    return rank_cpus(processors(allowed), world.local_rank, world.local_size, chosen)


def is_bound(env: Mapping[str, str], allowed: set[int]) -> bool:
    """Whether somebody has bound this rank already: mpirun, Slurm's `--cpu-bind`, or `taskset`,
    which leave it fewer processors than its cgroup has."""
    if env.get("OMPI_MCA_orte_bound_at_launch") == "1":
        return True
    if any(kind in env.get("SLURM_CPU_BIND_TYPE", "") for kind in ("mask", "map", "rank")):
        return True
    return allowed < cgroup_cpus()


def cgroup_cpus() -> set[int]:
    """The processors of this process's cgroup, or of the machine where there is none."""
    cgroup = _text(Path("/proc/self/cgroup")).splitlines()
    for line in cgroup:
        _, controllers, path = line.split(":", 2)
        folders = {"": "", "cpuset": "cpuset"}
        if controllers not in folders:
            continue
        folder = Path("/sys/fs/cgroup") / folders[controllers] / path.lstrip("/")
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):
            if found := set(cpu_list(_text(folder / name))):
                return found
    online = set(cpu_list(_text(_SYSTEM / "cpu" / "online")))
    return online or set(range(os.cpu_count() or 1))
