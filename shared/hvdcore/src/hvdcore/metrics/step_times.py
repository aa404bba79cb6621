"""Step times: seconds per kind of work, averages over steps, the speed of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hvdcore.metrics.metrics import AllReduce

__all__ = ["WARM_UP_STEPS", "Speed", "StepTimes", "Window"]

WARM_UP_STEPS = 5
"""First steps of a process, left out of the speed: caches are cold and memory is being mapped."""


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one step on this rank, or of several added up."""

    data: float = 0.0
    communicate: float = 0.0
    """Waiting for other ranks and moving gradients and weights."""
    total: float = 0.0
    update: float = 0.0
    """The optimizer's arithmetic on what this rank updates."""

    @property
    def compute(self) -> float:
        """All the rest: the forward and the backward pass."""
        return self.total - self.data - self.communicate - self.update

    def __add__(self, other: StepTimes) -> StepTimes:
        return StepTimes(
            self.data + other.data,
            self.communicate + other.communicate,
            self.total + other.total,
            self.update + other.update,
        )

    def by_kind(self) -> dict[str, float]:
        """The four kinds, which add up to the total."""
        names = ("data", "compute", "update", "communicate")
        return {f"{name}_seconds": getattr(self, name) for name in names}


@dataclass
class Window:
    """Sums over the steps since the last point of the train curves.

    Args:
        unit: what is counted, in the plural: `tokens`, `images`.
    """

    unit: str
    num_steps: int = 0
    num_units: int = 0
    values: dict[str, float] = field(default_factory=dict)
    times: StepTimes = field(default_factory=StepTimes)

    def add(self, values: Mapping[str, float], num_units: int, times: StepTimes) -> None:
        """Add a step: the values to average over steps, and the units of all ranks."""
        self.num_steps += 1
        self.num_units += num_units
        for name, value in values.items():
            self.values[name] = self.values.get(name, 0.0) + value
        self.times += times

    def means(self) -> dict[str, float]:
        """Of one step: the values, and seconds by kind; and units a second, all ranks'."""
        n = self.num_steps
        return {
            **{name: total / n for name, total in self.values.items()},
            f"{self.unit}_per_second": self.num_units / self.times.total,
            **{name: seconds / n for name, seconds in self.times.by_kind().items()},
        }


@dataclass
class Speed:
    """Units (tokens, images) of all ranks and times of this one, without the first steps."""

    num_steps: int = 0
    num_units: int = 0
    times: StepTimes = field(default_factory=StepTimes)

    @property
    def seconds(self) -> float:
        return self.times.total

    def add(self, num_units: int, times: StepTimes) -> None:
        """Add a step, unless it is one of the first."""
        self.num_steps += 1
        if self.num_steps > WARM_UP_STEPS:
            self.num_units += num_units
            self.times += times

    def mean_step(self, allreduce: AllReduce) -> dict[str, float] | None:
        """Seconds of a step by kind, over the steps and all ranks; None without a counted step.

        Every rank must call.

        Args:
            allreduce: sums a float64 array over the ranks (the adapter's `allreduce_sum`).
        """
        kinds = self.times.by_kind()
        counted = max(0, self.num_steps - WARM_UP_STEPS)
        *sums, count = allreduce(np.array([*kinds.values(), counted], dtype=np.float64)).tolist()
        return dict(zip(kinds, (total / count for total in sums), strict=True)) if count else None
