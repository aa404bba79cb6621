"""Owns jobs on a Ray cluster: Ray keeps the CPUs and GPUs and starts the ranks' supervisors.

Horovod's own `RayExecutor` (0.28.1) still starts ranks on today's Ray. It runs functions in Ray's
workers, though, and not commands under a supervisor; when a node is lost it raises and leaves the
other ranks waiting; and a placement group that came too late stays in the queue and takes what
becomes free. So its rendezvous is used here, and not the executor.

    >>> from hvdcore.launch.ray import run
    >>> run(["textgen", "train", "--output-dir", "/shared/runs/first"], np=4)  # doctest: +SKIP
    0
"""

from __future__ import annotations

__all__ = ["run"]


def run(
    command: list[str],
    np: int | None = None,
    address: str = "auto",
    *,
    cpus_per_rank: int | None = None,
    gpus_per_rank: int | None = None,
    max_restarts: int | None = None,
    min_np: int | None = None,
    max_np: int | None = None,
    timeout_seconds: float | None = None,
) -> int:
    """Run `command` as ranks on a Ray cluster and return the exit code; see `hvdcore.launch.launch`.

    Call it in the main thread of a process on a node of the cluster that is no rank.

    Args:
        command: program and arguments.
        np: number of ranks; None takes as many as are free.
        address: `HOST:PORT` of the cluster's head; 'auto' is that of RAY_ADDRESS or this host's.
        cpus_per_rank: that Ray keeps for each rank; None is 1.
        gpus_per_rank: 0 or 1; None is 1 where the cluster has some.
        max_restarts: after a failure, on what is left, from the newest checkpoint.
        min_np: makes the run elastic, in place of `np`; see `--min-np`.
        max_np: of an elastic run.
        timeout_seconds: how long to wait for room.

    Raises:
        UserError: no cluster answers, it has no room, or Ray is not installed.
    """
    from hvdcore.launch.job.job import JobSettings
    from hvdcore.launch.launch import launch_on_hosts
    from hvdcore.launch.options import StartOptions

    start = StartOptions(
        np=np, ray=address, cpus_per_rank=cpus_per_rank, gpus_per_rank=gpus_per_rank,
        max_restarts=max_restarts, min_np=min_np, max_np=max_np, elastic_timeout=timeout_seconds,
    )  # fmt: skip
    return launch_on_hosts(command, start, JobSettings())
