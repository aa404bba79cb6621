"""What a package provides for its command `tune`: name, configuration, search space, objectives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hvdcore.config import Config
from hvdcore.runtime.environment import python_module
from hvdcore.tune.space import Space

__all__ = [
    "Objective",
    "Tunable",
]


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


def _no_check(config: Any, np: int) -> None:
    """Nothing is wrong."""


@dataclass(frozen=True)
class Tunable:
    """A trainer whose settings can be searched.

    Its program has the commands `prepare --config FILE` and
    `train --config FILE --output-dir DIR`, and the run writes metrics.jsonl.

    Args:
        package: the module that `python -m` runs, and the distribution with the extra `tune`.
        config: the configuration of a training run.
        space: what is searched by default, for the configuration that all trials share.
        objectives: what `--objective` offers, by name; the first is the default.
        check: raises UserError for what `prepare` cannot see of the shared configuration on so
            many ranks; called after `prepare`, before the first trial.
        program: in place of `python -m PACKAGE`.
    """

    package: str
    config: type[Config]
    space: Callable[[Any], Space]
    objectives: Mapping[str, Objective]
    check: Callable[[Any, int], object] = _no_check
    program: tuple[str, ...] = ()

    def command(self, command: str, config: Path, *arguments: str) -> list[str]:
        """The command line of one of its commands with a configuration file."""
        program = self.program or python_module(self.package)
        return [*program, command, "--config", str(config), *arguments]
