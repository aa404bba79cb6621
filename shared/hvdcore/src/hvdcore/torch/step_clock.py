"""Owns taking a training step's times: what of it was data, collectives and the update."""

from __future__ import annotations

from time import perf_counter

from hvdcore.metrics.step_times import StepTimes
from hvdcore.torch.collectives import communication_seconds
from hvdcore.torch.sharded import ShardedOptimizer


class StepClock:
    """Runs from the start of a step, where it is made, to `times`.

    On a GPU the step has to end in something that waits for it, as `ShardedOptimizer.step` does.
    """

    def __init__(self, optimizer: ShardedOptimizer) -> None:
        self._optimizer = optimizer
        self._waited = communication_seconds()
        self._updated = optimizer.update_seconds
        self._data = 0.0
        self._began = perf_counter()

    def fetched(self) -> None:
        """The batch is here."""
        self._data = perf_counter() - self._began

    def times(self) -> StepTimes:
        """The step has ended."""
        return StepTimes(
            data=self._data,
            communicate=communication_seconds() - self._waited,
            total=perf_counter() - self._began,
            update=self._optimizer.update_seconds - self._updated,
        )
