"""Environment variables: ours, by name, and those that a rank needs before it loads a framework.

Every variable of ours is named here and nowhere else.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

from hvdcore.runtime.world import World

__all__ = [
    "BIND",
    "EXPECTED_SIZE",
    "HEARTBEAT",
    "JOB",
    "JOB_VARIABLES",
    "LAUNCH",
    "LOG_DIR",
    "MONITOR",
    "NETWORKS",
    "PREPARED",
    "PREPARED_DATA",
    "RANK_MARKER",
    "RESTART",
    "STACKS",
    "STALL_CHECK",
    "STALL_TIMEOUT",
    "STUDY",
    "SUPERVISED",
    "TERMINAL",
    "cgroup_cpu_quota",
    "cores_available",
    "horovod_stall_check",
    "prepare_environment",
    "python_module",
    "stall_timeout",
    "threads_per_rank",
]

STALL_TIMEOUT = "HVDCORE_STALL_TIMEOUT"
"""Seconds without progress after which a rank counts as hung. Users may set it."""
BIND = "HVDCORE_BIND_TO"
"""How ranks are bound to cores, as `--bind-to`: auto, numa, core or none. Users may set it."""
STALL_CHECK = "HVDCORE_STALL_CHECK"
"""Set where the launcher has set Horovod's own stall check for programs without heartbeats."""
LOG_DIR = "HVDCORE_LOG_DIR"
"""Directory of the ranks' logs, in place of the run's own."""
RESTART = "HVDCORE_RESTART"
"""How often the launcher has restarted this job; absent at the first start."""
LAUNCH = "HVDCORE_LAUNCH"
"""Marks every start of a job by one launcher, restarts included."""
EXPECTED_SIZE = "HVDCORE_EXPECTED_SIZE"
"""Number of ranks that the launcher starts."""
NETWORKS = "HVDCORE_NETWORKS"
"""Networks that the hosts of a job share, comma-separated."""
MONITOR = "HVDCORE_MONITOR"
"""The launcher's address: `unix:PATH` or `tcp:HOST:PORT:TOKEN`."""
JOB = "HVDCORE_JOB"
"""Marks every process of a job that our launcher started."""
RANK_MARKER = "HVDCORE_RANK_MARKER"
"""Marks every process of one rank."""
SUPERVISED = "HVDCORE_SUPERVISED"
"""Set for a process that has a supervisor."""
HEARTBEAT = "HVDCORE_HEARTBEAT"
"""Path of the page of memory that carries a rank's heartbeat."""
STACKS = "HVDCORE_STACKS"
"""Path of the file that takes a rank's stacks when it is asked for them by SIGUSR1."""
PREPARED = "HVDCORE_PREPARED"
"""Set once `prepare_environment` has been done for a single rank."""
PREPARED_DATA = "HVDCORE_PREPARED_DATA"
"""The data that the process which starts the ranks has prepared for them."""
TERMINAL = "HVDCORE_TERMINAL"
"""The launcher's terminal: the streams that are one, columns and rows: `2:120x40`."""
STUDY = "HVDCORE_STUDY"
"""Marks every process of a study of `tune`."""

JOB_VARIABLES = frozenset(
    {
        LOG_DIR, RESTART, LAUNCH, EXPECTED_SIZE, NETWORKS, MONITOR, JOB, RANK_MARKER, SUPERVISED,
        HEARTBEAT, PREPARED, STACKS, STALL_CHECK,
    }
)  # fmt: skip
"""What belongs to one job and must not reach another one that is started inside of it."""

DEFAULT_STALL_TIMEOUT_SECONDS = 300.0

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)
# Training takes and returns the same large buffers each step. glibc gives blocks above its
# mmap threshold back to the kernel at once, and every step pays for the page faults again.
_MALLOC_KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 26),
}


def cores_available() -> int:
    """Cores that this process may use: affinity mask, cut by the container's CPU quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cgroup_cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cgroup_cpu_quota(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> float | None:
    """Processors' worth of time that the container may use; None where there is no limit.

    Args:
        path: of version 2; version 1 has `cpu/cpu.cfs_quota_us` and `_period_us` beside it.
    """
    files = [path.parent / f"cpu/cpu.cfs_{name}_us" for name in ("quota", "period")]
    try:
        texts = [path] if path.exists() else files
        quota, period = " ".join(file.read_text(encoding="ascii") for file in texts).split()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def python_module(name: str) -> list[str]:
    """The command that runs a module in this Python, before its arguments.

    The working folder is not searched for other modules than this one: a `random.py` in it would
    be taken for the standard library's.
    """
    top = name.partition(".")[0]
    if Path(top).is_dir() or Path(f"{top}.py").is_file():
        return [sys.executable, "-m", name]
    version = tuple(sys.version_info)
    if version < (3, 11):  # there is no -P
        return [sys.executable, str(Path(__file__).with_name("run_module.py")), name]
    return [sys.executable, "-P", "-m", name]


def threads_per_rank(local_size: int, cores: int) -> int:
    """Compute threads for each of `local_size` ranks on a host of `cores` cores: at least 1.

    >>> [threads_per_rank(n, 8) for n in (1, 2, 3, 16)]
    [8, 4, 2, 1]
    """
    return max(1, cores // local_size)


def stall_timeout(env: MutableMapping[str, str]) -> float:
    """Seconds without a heartbeat before a rank counts as hung, from the environment."""
    try:
        seconds = float(env.get(STALL_TIMEOUT, ""))
    except ValueError:
        return DEFAULT_STALL_TIMEOUT_SECONDS
    return seconds if 0 < seconds < math.inf else DEFAULT_STALL_TIMEOUT_SECONDS


def horovod_stall_check(seconds: float) -> dict[str, str]:
    """Horovod's own stall check: it warns after half the time, and then ends the ranks.

    It knows only operations that some ranks wait in, and takes whole seconds.
    """
    return {
        "HOROVOD_STALL_CHECK_TIME_SECONDS": str(max(1, math.ceil(seconds / 2))),
        "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": str(max(2, math.ceil(seconds))),
    }


def prepare_environment(world: World, env: MutableMapping[str, str]) -> bool:
    """Add to `env` what a rank in `world` needs before exec. What the user set stays as it is.

    Returns:
        True when something was added, so that a process already running must start again to
        see it (glibc and OpenMP read their settings once).
    """
    wanted = {**_MALLOC_KEEPS_MEMORY, **_controller_settings(world, env)}
    threads = str(threads_per_rank(_ranks_on_these_cores(world, env), cores_available()))
    # Whoever limits OpenMP means all of them: MKL on more threads would only spin.
    threads = env.get("OMP_NUM_THREADS", threads)
    wanted.update(dict.fromkeys(_THREAD_VARIABLES, threads))
    # Over a network one more thread starts the sums while the other computes gradients.
    wanted["TF_NUM_INTEROP_THREADS"] = "2" if world.size > world.local_size else "1"
    missing = {name: value for name, value in wanted.items() if name not in env}
    env.update(missing)
    return bool(missing)


def _ranks_on_these_cores(world: World, env: MutableMapping[str, str]) -> int:
    """mpirun alone binds each rank to cores of its own; then they are not to be shared out."""
    bound = env.get("OMPI_MCA_orte_bound_at_launch") == "1"
    return 1 if bound and world.local_size > 1 else world.local_size


def _controller_settings(world: World, env: MutableMapping[str, str]) -> dict[str, str]:
    if world.controller == "mpi":
        # Open MPI waits by polling; where every core computes, that takes a core away.
        return {"OMPI_MCA_mpi_yield_when_idle": "1"}
    settings = {"HOROVOD_CONTROLLER": "gloo", "HOROVOD_CPU_OPERATIONS": "gloo"}
    if world.controller == "gloo":
        # Gloo gives up by itself after 30 s, be it that a rank only writes a checkpoint. The
        # watchdog comes first: it knows which rank is to blame.
        settings["HOROVOD_GLOO_TIMEOUT_SECONDS"] = str(int(2 * stall_timeout(env)) + 30)
    return settings
