"""The ranks of a job on Ray: started once Ray has reserved resources for all, ended together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from horovod.runner.common.util.hosts import HostInfo, get_host_assignments
from horovod.runner.gloo_run import create_slot_env_vars
from horovod.runner.http.http_server import RendezvousServer
from ray.exceptions import RayError
from ray.util.placement_group import (
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hvdcore.launch.hosts.hosts import Hosts
from hvdcore.launch.ray.rank import RankActor
from hvdcore.launch.supervisor.outcome import EXIT_FAILED

__all__ = [
    "Group",
    "RayRanks",
]

_NODE_ID = "ray.io/node-id"


class Group:
    """Asks for a bundle a rank, on as few nodes as can be; `is_ready` tells when it has them.

    Args:
        per_rank: amounts by Ray's names, `CPU` and `GPU`.
        nodes: id of the node for each rank; None leaves the nodes to Ray.
    """

    def __init__(
        self, per_rank: Mapping[str, float], np: int, nodes: Sequence[str] | None = None
    ) -> None:
        bundles = [dict(per_rank) for _ in range(np)]
        labels = None if nodes is None else [{_NODE_ID: node} for node in nodes]
        self._group = placement_group(bundles, strategy="PACK", bundle_label_selector=labels)
        self._per_rank = per_rank

    @property
    def is_ready(self) -> bool:
        """All bundles are kept for us."""
        return bool(placement_group_table(self._group).get("state") == "CREATED")

    @property
    def resource(self) -> str:
        """Ray's name for the CPUs of a node that are kept for us."""
        return f"CPU_group_{self._group.id.hex()}"

    def options_of(self, rank: int) -> dict[str, Any]:
        """What an actor needs to live in the bundle of a rank."""
        strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=rank)
        amounts = {"num_cpus": self._per_rank["CPU"], "num_gpus": self._per_rank.get("GPU", 0)}
        return {**amounts, "scheduling_strategy": strategy}

    def remove(self) -> None:
        """Give everything back, or leave the queue; what lives in the bundles ends."""
        with contextlib.suppress(RayError):
            remove_placement_group(self._group)


class RayRanks:
    """The actors of a job, as what has started its ranks; see `running_job.Starter`.

    Args:
        hosts: names of nodes and the ranks on each, which fill them in order.
        group: with a bundle for each rank; it goes with the job.
        address: of this machine, for the ranks to find each other.
        env: the environment of the ranks.
    """

    name = "Ray"

    def __init__(
        self, command: list[str], hosts: Hosts, group: Group, address: str, env: Mapping[str, str]
    ) -> None:
        self.hosts = str(hosts)
        self._command, self._group = command, group
        np = hosts.num_slots
        self._slots = get_host_assignments([HostInfo(*item) for item in hosts.slots.items()], np)
        self._rendezvous = RendezvousServer()
        port = self._rendezvous.start(address=address)
        self._rendezvous.init(self._slots)
        self._env = {
            **env,
            **self._rendezvous.environment,  # the secret that the server asks for
            "HOROVOD_CONTROLLER": "gloo",
            "HOROVOD_CPU_OPERATIONS": "gloo",
            "HOROVOD_GLOO_RENDEZVOUS_ADDR": address,
            "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
        }
        self._actors: list[Any] = []
        self._devices: list[Any] = []
        self._runs: list[Any] = []
        self._words = [f"Ray has not reserved what {np} ranks on {hosts} need"]
        self._is_lost = False

    @property
    def sockets(self) -> list[int]:
        """None: Ray's news comes through its own threads."""
        return []

    def hear(self) -> None:
        """Go on with the start: the bundles, the actors in them, the ranks."""
        if self._runs or self._is_lost:
            return
        if not self._actors:
            if self._group.is_ready:
                self._make_actors()
        elif len(ray.wait(self._devices, num_returns=len(self._devices), timeout=0)[0]) == len(
            self._devices
        ):
            self._start()

    def _make_actors(self) -> None:
        self._words = ["Ray has not started the ranks' processes"]
        actor = ray.remote(max_restarts=0)(RankActor)
        self._actors = [
            actor.options(**self._group.options_of(slot.rank)).remote() for slot in self._slots
        ]
        self._devices = [actor.devices.remote() for actor in self._actors]

    def _start(self) -> None:
        try:
            devices = ray.get(self._devices)
        except RayError as error:
            self._lose(error)
            return
        visible: dict[str, list[str]] = {}
        for slot, given in zip(self._slots, devices, strict=True):
            visible.setdefault(slot.hostname, []).extend(given)
        for slot, actor in zip(self._slots, self._actors, strict=True):
            # A rank takes the GPU of its local rank, as under every other launcher.
            own = {"CUDA_VISIBLE_DEVICES": ",".join(visible[slot.hostname])}
            env = {**self._env, **create_slot_env_vars(slot), **own}
            self._runs.append(actor.run.remote(self._command, env, os.getcwd()))
        self._words = []

    def _lose(self, error: RayError) -> None:
        self._is_lost = True
        self._words = [f"Ray lost a rank: {str(error).splitlines()[0]}"]

    def exit_code(self) -> int | None:
        """None while ranks run or are still to be started."""
        if self._is_lost:
            return EXIT_FAILED
        if not self._runs:
            return None
        done, running = ray.wait(self._runs, num_returns=len(self._runs), timeout=0)
        try:
            codes = ray.get(done)
        except RayError as error:
            self._lose(error)
            return EXIT_FAILED
        return None if running else max(codes)

    def last_words(self) -> list[str]:
        """Why there are no ranks."""
        return self._words

    def end(self) -> None:
        """End the actors, which ends their ranks, and give back what was kept for them."""
        for actor in self._actors:
            with contextlib.suppress(RayError):
                ray.kill(actor)
        self._group.remove()
        self._rendezvous.stop()
