"""Owns what a run tells while it trains: metrics.jsonl, TensorBoard, the bar; and its speed.

Each package derives its `Record` from this one and says in it what a step and a score are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

from hvdcore.progress import Progress
from hvdcore.run_dir import RunDir
from hvdcore.tensorboard import Board

__all__ = ["WARM_UP_STEPS", "RunRecord", "Speed", "StepTimes", "Window"]

R = TypeVar("R", bound="RunRecord")

WARM_UP_STEPS = 5
"""First steps of a process, left out of the speed: caches are cold and memory is being mapped."""


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one step on this rank."""

    data: float
    communicate: float
    """Waiting for other ranks and moving gradients and weights."""
    total: float

    @property
    def compute(self) -> float:
        return self.total - self.data - self.communicate


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
    data: float = 0.0
    communicate: float = 0.0
    total: float = 0.0

    def add(self, values: Mapping[str, float], num_units: int, times: StepTimes) -> None:
        """Add a step: the values to average over steps, and the units of all ranks."""
        self.num_steps += 1
        self.num_units += num_units
        for name, value in values.items():
            self.values[name] = self.values.get(name, 0.0) + value
        self.data += times.data
        self.communicate += times.communicate
        self.total += times.total

    def means(self) -> dict[str, float]:
        """Of one step: the values, and seconds by kind; and units a second, all ranks'."""
        n = self.num_steps
        return {
            **{name: total / n for name, total in self.values.items()},
            f"{self.unit}_per_second": self.num_units / self.total,
            "data_seconds": self.data / n,
            "compute_seconds": (self.total - self.data - self.communicate) / n,
            "communicate_seconds": self.communicate / n,
        }


@dataclass
class Speed:
    """Units (tokens, images) of all ranks and seconds of this one, without the first steps."""

    num_steps: int = 0
    num_units: int = 0
    seconds: float = 0.0

    def add(self, num_units: int, times: StepTimes) -> None:
        """Add a step, unless it is one of the first."""
        self.num_steps += 1
        if self.num_steps > WARM_UP_STEPS:
            self.num_units += num_units
            self.seconds += times.total


@dataclass
class RunRecord:
    """Writes on rank 0 and is silent elsewhere; every rank holds one and calls it alike.

    As a context manager it closes the bar and the board.
    """

    run: RunDir
    board: Board
    progress: Progress
    is_root: bool
    window: Window
    speed: Speed = field(default_factory=Speed)

    def write(self, step: int, epoch: int, split: str, values: Mapping[str, float]) -> None:
        """A line of metrics.jsonl and a point of each curve `<split>/<name>`. Counts (`num_...`)
        are the same at every step, and no curve."""
        if not self.is_root:
            return
        self.run.append_metrics({"step": step, "epoch": epoch, "split": split, **values})
        curves = {k: value for k, value in values.items() if not k.startswith("num_")}
        self.board.add_scalars({f"{split}/{name}": value for name, value in curves.items()}, step)

    def __enter__(self: R) -> R:
        self.progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.__exit__(kind, error, trace)
        self.board.close()
