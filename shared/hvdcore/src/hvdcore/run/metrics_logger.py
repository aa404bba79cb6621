"""Logging metrics while a run trains: to metrics.jsonl, TensorBoard and the progress bar.

Each package derives its logger from `RunLogger` and defines there what a step and a score are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hvdcore.metrics.rank_times import RankFigures
from hvdcore.metrics.step_times import WARM_UP_STEPS, Speed, StepTimes, Window
from hvdcore.run.live_report import LiveReport
from hvdcore.run.run_dir import RunDir
from hvdcore.tracking.logs import get_logger
from hvdcore.tracking.progress import Progress
from hvdcore.tracking.tensorboard import Board
from hvdcore.tracking.tracker.backend import Status
from hvdcore.tracking.tracker.tracker import Tracker, point_of

__all__ = ["WARM_UP_STEPS", "RunLogger", "Speed", "StepTimes", "Window"]

R = TypeVar("R", bound="RunLogger")
logger = get_logger(__name__)


@dataclass
class RunLogger:
    """Writes on rank 0 and is silent elsewhere; every rank holds one and calls it alike.

    As a context manager it closes the bar and the board.
    """

    run: RunDir
    board: Board
    progress: Progress
    is_root: bool
    window: Window
    speed: Speed = field(default_factory=Speed)
    tracker: Tracker | None = None
    live: LiveReport | None = field(default=None, init=False)

    def log_ranks(self, figures: RankFigures) -> None:
        """Tell the user, once, of a rank that has become slow, or has recovered. Every rank may
        call."""
        for line in figures.lines if self.is_root else []:
            logger.info("%s", line)

    def write(self, step: int, epoch: int, split: str, values: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl and a point of each curve `<split>/<name>`. Counts (`num_...`)
        are the same at every step, and no curve; neither are the lists of all ranks' values."""
        if not self.is_root:
            return
        row = {"step": step, "epoch": epoch, "split": split, **values}
        self.run.append_metrics(row)
        if self.live is not None:
            self.live.add(row)
        if self.tracker is not None and (point := point_of(row)) is not None:
            self.tracker.add(point)
        curves = {k: v for k, v in values.items() if not k.startswith(("num_", "rank_"))}
        self.board.add_scalars({f"{split}/{name}": value for name, value in curves.items()}, step)

    def __enter__(self: R) -> R:
        self.progress.__enter__()
        if self.is_root:
            self.live = LiveReport.if_asked(self.run)
        return self

    def __exit__(self, *exception: Any) -> None:
        self.progress.__exit__(*exception)
        if self.live is not None:
            self.live.close()
        if self.tracker is not None:
            self.tracker.close(self._status(exception[0] is not None))
        self.board.close()

    def _status(self, has_failed: bool) -> Status:
        """A run that was asked to stop has saved a checkpoint, and no report."""
        if has_failed:
            return "failed"
        return "finished" if self.run.report.is_file() else "stopped"
