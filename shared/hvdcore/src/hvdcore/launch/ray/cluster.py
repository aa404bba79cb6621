"""The nodes of a Ray cluster as hosts: the free slots of each, and whether they can run a job."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import ray
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hvdcore.errors import UserError
from hvdcore.launch.hosts.check import Fleet, require_like
from hvdcore.launch.hosts.facts import HostFacts, facts_here
from hvdcore.launch.hosts.hosts import Hosts
from hvdcore.launch.job.job import JobSettings
from hvdcore.launch.ray.ranks import Group, RayRanks

__all__ = ["RayCluster"]

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0


class RayCluster:
    """The cluster that this process is connected to.

    Nodes are called by their address and the head of their id: a machine may run several.

    Args:
        per_rank: what Ray keeps for a rank, by Ray's names, `CPU` and `GPU`.
        package: the distribution that has to be the same on every node.
    """

    def __init__(self, per_rank: Mapping[str, float], package: str) -> None:
        self.per_rank, self.package = per_rank, package
        self.address = str(ray.util.get_node_ip_address())
        self._group: Group | None = None
        self._kept: list[str] = []
        self._ids: dict[str, str] = {}

    def ask(self) -> Hosts:
        """The nodes there are now with the ranks that each has room for, those that run included.

        Raises:
            UserError: the cluster does not answer.
        """
        try:
            status = get_cluster_status(ray.get_runtime_context().gcs_address)
        except (RayError, RuntimeError, OSError) as error:
            raise UserError(f"--ray: the cluster does not answer ({error})") from None
        slots = {}
        for node in [*status.active_nodes, *status.idle_nodes]:
            usage = {u.resource_name: u for u in node.resource_usage.usage}
            free = {name: u.total - u.used for name, u in usage.items()}
            # Of one moment with the rest: what is taken or given back is counted late.
            ours = sum(usage[name].total for name in self._kept if name in usage)
            name = f"{node.ip_address}-{node.node_id[:6]}"
            self._ids[name] = node.node_id
            slots[name] = room(self.per_rank, free) + int(ours // self.per_rank["CPU"])
        return Hosts(dict(sorted(slots.items(), key=lambda item: -item[1])))

    def reserve(self, np: int, nodes: list[str] | None = None) -> Group:
        """Ask for `np` ranks, in place of what was kept so far; on these nodes, or wherever."""
        self.release()
        self._group = Group(self.per_rank, np, nodes)
        self._kept.append(self._group.resource)
        return self._group

    def release(self) -> None:
        """Give back what is kept."""
        if self._group is not None:
            self._group.remove()
        self._group = None

    def look(self, hosts: Hosts) -> Fleet:
        """Ask the nodes, at the same time, whether they are fit for a job."""
        here = facts_here(self.package, os.getcwd(), [self.address])
        fleet = Fleet(hosts, here, address=self.address)
        ports = {node["NodeID"]: node["NodeManagerPort"] for node in ray.nodes()}
        with ThreadPoolExecutor(min(len(hosts.slots), 64)) as pool:
            asked = {n: pool.submit(self._facts, n, ports, here) for n in hosts.slots}
        for name, answer in asked.items():
            found = answer.result()
            if isinstance(found, HostFacts):
                fleet.facts[name] = found
            else:
                fleet.problems[name] = found.problems
        return fleet

    def _facts(self, name: str, ports: Mapping[str, int], here: HostFacts) -> HostFacts | UserError:
        node = self._ids[name]
        where = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=where)(facts_here)
        try:
            # Ray itself notices late that a node is gone.
            address = (name.rpartition("-")[0], ports.get(node, 0))
            socket.create_connection(address, _CONNECT_SECONDS).close()
            asked = task.remote(self.package, os.getcwd(), [self.address])
            facts: HostFacts = ray.get(asked, timeout=_ANSWER_SECONDS)
        except (OSError, RayError) as error:
            said = str(error).splitlines()[0]
            return UserError(f"--ray: node {name} does not answer ({said})")
        try:
            require_like(name, facts, here, "--ray")
        except UserError as error:
            return error
        return facts

    def start_ranks(
        self, command: list[str], np: int, fleet: Fleet, settings: JobSettings
    ) -> Callable[[Mapping[str, str]], RayRanks]:
        """See `start_job.StartRanks`."""
        nodes = [self._ids[fleet.hosts.host_of(rank)] for rank in range(np)]
        threads = {"OMP_NUM_THREADS": str(int(self.per_rank["CPU"]))}

        def start(env: Mapping[str, str]) -> RayRanks:
            group, own = self.reserve(np, nodes), {**threads, **env}
            return RayRanks(command, fleet.hosts, group, self.address, own)

        return start


def room(per_rank: Mapping[str, float], free: Mapping[str, float]) -> int:
    """How many ranks fit into what is free on a node."""
    return int(min(free.get(name, 0.0) // wanted for name, wanted in per_rank.items() if wanted))
