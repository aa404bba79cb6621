"""A command on a Ray cluster, from the options to the exit code."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hvdcore.errors import UserError
from hvdcore.launch.elastic.agent import Agent
from hvdcore.launch.elastic.plan import DEFAULT_ELASTIC_TIMEOUT_SECONDS, make_plan
from hvdcore.launch.job.job import JobSettings
from hvdcore.launch.options import StartOptions
from hvdcore.launch.ray.connection import connected
from hvdcore.runtime.signals import SignalInbox, wait_readable

if TYPE_CHECKING:
    from hvdcore.launch.ray.cluster import RayCluster

__all__ = ["launch_on_ray"]

_ROOM_SECONDS = 60.0
_LOOK_SECONDS = 0.2


def launch_on_ray(
    command: list[str],
    start: StartOptions,
    settings: JobSettings,
    package: str,
    global_batch_size: int | None,
) -> int:
    """As `launch_on_hosts`, on the nodes of the cluster at `start.ray`."""
    settings.check()
    if settings.controller == "mpi":
        raise UserError("--controller: ranks on Ray communicate through Gloo; leave the option out")
    assert start.ray is not None
    with _without_rays_words(), connected(start.ray):
        import ray

        from hvdcore.launch.ray.cluster import RayCluster

        cluster = RayCluster(amounts(start, ray.cluster_resources()), package)
        try:
            number = _wait_for_room(cluster, start)
            if number is not None:
                return 128 + number
            plan = make_plan(start, {}, global_batch_size, cluster.ask)
            return Agent(command, plan, settings, cluster.look, cluster.start_ranks).run()
        finally:
            cluster.release()


@contextlib.contextmanager
def _without_rays_words() -> Iterator[None]:
    """Ray prints pages about a lost node on our stdout; ours goes to the descriptor."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield


def amounts(start: StartOptions, cluster: Mapping[str, float]) -> dict[str, float]:
    """What Ray keeps for each rank: a CPU, and a GPU where the cluster has some."""
    gpus = start.gpus_per_rank
    gpus = int(bool(cluster.get("GPU"))) if gpus is None else gpus
    return {"CPU": start.cpus_per_rank or 1, **({"GPU": gpus} if gpus else {})}


def _wait_for_room(cluster: RayCluster, start: StartOptions) -> int | None:
    """Until Ray keeps room for the ranks of a first start. A signal that ended the wait, or None.

    An autoscaler hears of what is asked for, and may bring nodes meanwhile.

    Raises:
        UserError: there was no room in time.
    """

    np = start.np or start.min_np or 1
    seconds = start.elastic_timeout or (
        DEFAULT_ELASTIC_TIMEOUT_SECONDS if start.is_elastic else _ROOM_SECONDS
    )
    group, deadline = cluster.reserve(np), time.monotonic() + seconds
    with SignalInbox() as inbox:
        while not group.is_ready:
            if time.monotonic() > deadline:
                raise UserError(_no_room(np, cluster.per_rank, seconds))
            wait_readable([inbox.fd], _LOOK_SECONDS)
            if (number := inbox.take_stop_signal()) is not None:
                return number
    return None


def _no_room(np: int, per_rank: Mapping[str, float], seconds: float) -> str:
    import ray

    total, free = ray.cluster_resources(), ray.available_resources()
    asked = " and ".join(f"{np * amount:g} {name}s" for name, amount in per_rank.items())
    there = " and ".join(
        f"{total.get(name, 0):g} {name}s, {free.get(name, 0):g} of them free" for name in per_rank
    )
    return (
        f"--np: {np} ranks need {asked}; the Ray cluster has {there}, after {seconds:g} s "
        "(--elastic-timeout)"
    )
