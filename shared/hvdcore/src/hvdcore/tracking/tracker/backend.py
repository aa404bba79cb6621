"""What a tracking service has to do for a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

__all__ = ["Backend", "Point", "RunInfo", "Status"]

Status = Literal["finished", "stopped", "failed"]
"""How a run ended: with its report, by a signal after saving a checkpoint, or by an error."""


@dataclass(frozen=True)
class RunInfo:
    """What a service shows about a run.

    Attributes:
        project: the group of runs; the package that trains, unless the user names another.
        config: the resolved configuration, as JSON.
    """

    project: str
    path: Path
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return self.path.name


@dataclass(frozen=True)
class Point:
    """The values of a split at a step, by the names of TensorBoard's curves: `val/loss`."""

    split: str
    step: int
    values: Mapping[str, float]


class Backend(Protocol):
    """A client of a tracking service. Methods raise whatever the client raises."""

    name: str

    def start(self, run_id: str | None) -> str:
        """Open the run of that id again, or a new one; return its id."""
        ...

    def send(self, points: Sequence[Point]) -> None:
        """Add points, in the order of their steps."""
        ...

    def finish(self, status: Status, files: Sequence[Path]) -> None:
        """End the run; `files` are to be kept with it."""
        ...
