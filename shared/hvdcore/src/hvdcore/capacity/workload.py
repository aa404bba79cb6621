"""Owns what a rank does in a step: computing, and gradients that become ready while it does."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hvdcore.capacity.model import Network
from hvdcore.errors import UserError
from hvdcore.run.run_dir import RunDir

__all__ = ["Gradient", "Workload", "workload_of_run"]

KINDS = ("data", "compute", "update", "communicate")
"""Of a step's seconds in metrics.jsonl."""


@dataclass(frozen=True)
class Gradient:
    """Bytes that can be summed from `ready_seconds` after the step's beginning on."""

    num_bytes: float
    ready_seconds: float


@dataclass(frozen=True)
class Workload:
    """A step of one rank.

    Attributes:
        samples: of one rank.
        compute_seconds: until the last gradient is ready.
        update_seconds: of the whole update, after the last sum.
        gradients: in the order in which they are sent; by default nothing is.
        gathered: bytes of parameters, where each rank updates a part and all gather the parts;
            0 where each rank updates all.
        largest: of them, bytes of the largest tensor: no part is smaller for more ranks.
        unit: what samples are, such as "tokens".
    """

    samples: float
    compute_seconds: float
    update_seconds: float = 0.0
    gradients: Sequence[Gradient] = field(default=())
    gathered: float = 0.0
    largest: float = 0.0
    unit: str = "samples"

    def step_seconds(self, size: int, network: Network) -> float:
        """A step of `size` ranks that all compute alike.

        Sums are made one after another, and beside the computing; what is ready before the end of
        the computing may be hidden by it.
        """
        done = 0.0
        for gradient in self.gradients:
            begin = max(done, gradient.ready_seconds)
            done = begin + network.allreduce_seconds(gradient.num_bytes, size)
        summed = max(self.compute_seconds, done)
        if not self.gathered:
            return summed + self.update_seconds
        gather = network.allgather_seconds(self.gathered, size, self.largest)
        return summed + self.update_seconds / size + gather


def workload_of_run(run: RunDir) -> Workload:
    """What the ranks of a run did: medians of its train points, its gradients sent in one piece.

    Our trainers compute all gradients and then sum them in one collective, so none is hidden.

    Raises:
        UserError: no such run, or one without a report, without train points, or of a program
            that does not tell what its ranks send.
    """
    report = run.read_report()
    points = [row for row in run.read_metrics() if row.get("split") == "train"]
    points = points[len(points) // 10 :]  # the first ones hold what is done once
    if not points:
        raise UserError(f"{run.metrics}: no train points; train for more steps (--log-every)")
    sent = report.get("communication")
    if not isinstance(sent, dict):
        raise UserError(f"{run.report}: no 'communication'; train again with this version")
    units, unit = _units(points)
    compute = _median(points, "data_seconds") + _median(points, "compute_seconds")
    update = _median(points, "update_seconds")
    size, gathered = int(report["size"]), float(sent.get("allgather_bytes", 0))
    return Workload(
        samples=units / size,
        compute_seconds=compute,
        update_seconds=update * size if gathered else update,
        gradients=(Gradient(float(sent["allreduce_bytes"]), compute),),
        gathered=gathered,
        largest=float(sent.get("largest_tensor_bytes", 0)),
        unit=unit,
    )


def _median(points: Sequence[dict[str, Any]], name: str) -> float:
    return statistics.median(float(point.get(name, 0.0)) for point in points)


def _units(points: Sequence[dict[str, Any]]) -> tuple[float, str]:
    """Units of a step of all ranks, and what they are. Each point tells
    it exactly, speed times seconds; the medians of the kinds do not add up to one of the step."""
    name = next(name for name in points[0] if name.endswith("_per_second"))
    units = [p[name] * sum(float(p.get(f"{kind}_seconds", 0.0)) for kind in KINDS) for p in points]
    return statistics.median(units), name.removesuffix("_per_second")
