"""Owns the prediction: throughput, efficiency and cost of a workload at each number of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvdcore.capacity.model import Network
from hvdcore.capacity.workload import Workload

__all__ = ["Prediction", "predict"]


@dataclass(frozen=True)
class Prediction:
    """At one number of ranks, each with as many samples a step as the workload's (weak scaling).

    Attributes:
        per_second: units of all ranks.
        efficiency: throughput against `size` times that of one rank, 0 to 1.
        cost_per_million: of a million units, in the currency of the price; None without a price.
    """

    size: int
    step_seconds: float
    per_second: float
    efficiency: float
    cost_per_million: float | None


def predict(
    workload: Workload,
    network: Network,
    sizes: Sequence[int],
    *,
    price_per_host_hour: float | None = None,
    ranks_per_host: int = 1,
) -> list[Prediction]:
    """What `sizes` ranks would do.

    Args:
        price_per_host_hour: in any currency; hosts that are partly used count whole.
    """
    alone = workload.samples / workload.step_seconds(1, network)
    found = []
    for size in sizes:
        seconds = workload.step_seconds(size, network)
        speed = size * workload.samples / seconds
        cost = None
        if price_per_host_hour is not None:
            hosts = -(-size // ranks_per_host)
            cost = 1e6 * hosts * price_per_host_hour / 3600.0 / speed
        found.append(Prediction(size, seconds, speed, speed / (size * alone), cost))
    return found
