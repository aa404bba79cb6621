"""Ray clusters for tests: real raylets on this machine, which can be killed and added."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

__all__ = ["TestCluster"]

# Ray gives a raylet 30 s to start, and its workers what other work leaves; tests share a machine.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_worker_niceness": "0",
}


class TestCluster:
    """A head without CPUs, where the driver is, and nodes of one CPU. Use it as a context.

    Attributes:
        address: of the head.
        folder: where Ray writes its logs.
        nodes: names of the nodes, as `RayCluster` calls them, in the order in which they came.
    """

    __test__ = False

    def __init__(self, num_nodes: int) -> None:
        self._num_nodes = num_nodes
        self._nodes: dict[str, Any] = {}

    def __enter__(self) -> TestCluster:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = str(self._cluster.address)
        self.folder = Path(self._cluster.head_node.get_session_dir_path())
        for _ in range(self._num_nodes):
            self.add()
        return self

    def __exit__(self, *exception: object) -> None:
        self._cluster.shutdown()

    @property
    def nodes(self) -> list[str]:
        return list(self._nodes)

    def add(self, num_cpus: int = 1, num_gpus: int = 0) -> str:
        """A node more; its name. Ray counts its GPUs and does not look for them."""
        amounts = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        node = self._cluster.add_node(**amounts, include_dashboard=False)
        name = f"{node.node_ip_address}-{node.node_id[:6]}"
        self._nodes[name] = node
        return name

    def kill(self, name: str) -> None:
        """SIGKILL to all processes of a node."""
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=False)
