"""Owns what a trial is judged by: one value of the val points that it writes as it trains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """The best of one value over the val points of a run.

    Args:
        metric: its name in the lines of metrics.jsonl whose split is val.
        direction: whether less or more is better.
        label: for people, with the unit: `val loss, nats`.
    """

    metric: str
    direction: Literal["minimize", "maximize"]
    label: str

    def values(self, rows: Iterable[Mapping[str, Any]]) -> list[float]:
        """The value at each val point after the first update, in the order written.

        The point before training is no merit of a trial. NaN where the run wrote null, which is
        how it writes what is not finite.
        """
        chosen = (row for row in rows if row.get("split") == "val" and row.get("step", 0) > 0)
        values = (row.get(self.metric) for row in chosen)
        return [math.nan if value is None else float(value) for value in values]

    def best(self, values: Sequence[float]) -> float | None:
        """The best of the finite values, or None when there is none."""
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            return None
        return min(finite) if self.direction == "minimize" else max(finite)

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better."""
        return value < than if self.direction == "minimize" else value > than
