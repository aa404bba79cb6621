"""Owns a placement group: what Ray keeps for all ranks of a job at once, or for none."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from ray.exceptions import RayError
from ray.util.placement_group import (
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

__all__ = ["Group"]

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
