"""Working and waiting time of each rank, and ranks that are persistently slower than the others.

In synchronous training every step takes as long as its slowest rank; the others wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from hvdcore.metrics.metrics import AllReduce
from hvdcore.metrics.step_times import StepTimes
from hvdcore.runtime.world import World

__all__ = ["Change", "RankFigures", "RankTimes", "SlowRankWatch"]

SLOWER_FACTOR = 1.25
"""A rank counts as slow from this much more work time than the median of the others on."""
RECOVERED_FACTOR = 1.1
PATIENCE = 3
"""Intervals in a row that it takes to call a rank slow, or recovered."""
PERSIST_SECONDS = 20.0
"""Seconds that these intervals have to last together: of short steps three are soon over."""
_NOISE_SECONDS = 0.001  # of a step: what the clock and the scheduler do to the smallest models


class Change(NamedTuple):
    """A rank has become slow, or is no longer. Seconds are of work per step."""

    rank: int
    is_slow: bool
    seconds: float
    median: float


class SlowRankWatch:
    """Says once that a rank has become slow, and once that it has recovered.

    Args:
        size: number of ranks.
        persist_seconds: how long it has to last, in `PATIENCE` intervals or more.

    Example:
        >>> watch = SlowRankWatch(3, persist_seconds=0)
        >>> [len(watch.look([0.1, 0.1, 0.2])) for _ in range(5)]
        [0, 0, 1, 0, 0]
    """

    def __init__(self, size: int, persist_seconds: float = PERSIST_SECONDS) -> None:
        self._persist_seconds = persist_seconds
        self._slow = [False] * size
        self._streak = [0] * size
        self._lasted = [0.0] * size

    def look(self, seconds: Sequence[float], interval_seconds: float = 0.0) -> list[Change]:
        """Take in each rank's seconds of work per step over an interval of that length."""
        changes = []
        for rank, own in enumerate(seconds):
            others = median([*seconds[:rank], *seconds[rank + 1 :]] or [own])
            if self._slow[rank]:
                turns = own < max(others * RECOVERED_FACTOR, others + _NOISE_SECONDS)
            else:
                turns = own > max(others * SLOWER_FACTOR, others + _NOISE_SECONDS)
            self._streak[rank] = self._streak[rank] + 1 if turns else 0
            self._lasted[rank] = self._lasted[rank] + interval_seconds if turns else 0.0
            if self._streak[rank] >= PATIENCE and self._lasted[rank] >= self._persist_seconds:
                self._slow[rank] = not self._slow[rank]
                self._streak[rank], self._lasted[rank] = 0, 0.0
                changes.append(Change(rank, self._slow[rank], own, others))
        return changes


@dataclass(frozen=True)
class RankFigures:
    """One interval: lists with a value for each rank, and lines for the user.

    Attributes:
        work_seconds: of a step: data, forward and backward pass, update.
        wait_seconds: of a step: communication, which is mostly waiting for slower ranks.
        extra: what the caller had sent along.
    """

    work_seconds: list[float]
    wait_seconds: list[float]
    extra: list[float]
    lines: list[str]

    def to_json(self) -> dict[str, Any]:
        """For metrics.jsonl; nothing where there is one rank."""
        if len(self.work_seconds) == 1:
            return {}
        rounded = {
            name: [round(seconds, 6) for seconds in values]
            for name, values in (("work", self.work_seconds), ("wait", self.wait_seconds))
        }
        return {f"rank_{name}_seconds": values for name, values in rounded.items()}


@dataclass
class RankTimes:
    """Exchanges the ranks' times: one small allreduce an interval.

    Args:
        allreduce: sums a float64 array over the ranks (the adapter's `allreduce_sum`).
        gather_hosts: the host name of every rank; called on all ranks, when one has become slow,
            and needed on rank 0.
        persist_seconds: how long a rank has to be slow before it is named.
    """

    world: World
    allreduce: AllReduce
    gather_hosts: Callable[[], Sequence[str]]
    persist_seconds: float = PERSIST_SECONDS
    _watch: SlowRankWatch = field(init=False)

    def __post_init__(self) -> None:
        self._watch = SlowRankWatch(self.world.size, self.persist_seconds)

    def exchange(self, times: StepTimes, num_steps: int, extra: float = 0.0) -> RankFigures:
        """Every rank's times of an interval of `num_steps` steps. Every rank must call."""
        values = np.zeros((self.world.size, 3))
        wait = times.communicate / num_steps
        values[self.world.rank] = (times.total / num_steps - wait, wait, extra)
        if self.world.size > 1:
            values = self.allreduce(values.reshape(-1)).reshape(-1, 3)
        work, waits, extras = (values[:, column].tolist() for column in range(3))
        # The same values on every rank, so that all come to the same decision.
        changes = self._watch.look(work, float(values[:, :2].sum(axis=1).max()) * num_steps)
        hosts = self.gather_hosts() if changes else []
        lines = [_line(change, hosts[change.rank]) for change in changes if hosts]
        return RankFigures(work, waits, extras, lines)


def _line(change: Change, host: str) -> str:
    more = change.seconds / change.median - 1 if change.median else float("inf")
    figures = f"{change.seconds:.3f} s of work a step, the median of the others {change.median:.3f}"
    if change.is_slow:
        return f"rank {change.rank} on {host} is {more:.0%} slower than the others ({figures})"
    return f"rank {change.rank} on {host} is no longer slower than the others ({figures})"
