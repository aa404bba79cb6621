"""What a classifier's training logs: metrics.jsonl, TensorBoard, the progress bar and the log."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from hvdcore.classifier.config import ClassifierConfig, SampleNames
from hvdcore.classifier.score import Score
from hvdcore.keras.collectives import allgather_rows, allreduce_sum
from hvdcore.metrics.rank_times import RankTimes
from hvdcore.run.metrics_logger import RunLogger, StepTimes, Window
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.world import World
from hvdcore.tracking.logs import get_logger
from hvdcore.tracking.progress import Progress
from hvdcore.tracking.tensorboard import Board

__all__ = ["ClassifierMetricsLogger"]

logger = get_logger(__name__)
_HOST_BYTES = 64  # what is gathered must be of equal length


@dataclass(kw_only=True)
class ClassifierMetricsLogger(RunLogger):
    """Logs steps and scores. Writes on rank 0 and is silent on the others."""

    names: SampleNames
    log_every: int
    total_steps: int
    ranks: RankTimes

    @classmethod
    def create(
        cls,
        run: RunDir,
        config: ClassifierConfig,
        names: SampleNames,
        *,
        step: int,
        total_steps: int,
        is_resumed: bool,
        world: World,
    ) -> ClassifierMetricsLogger:
        """For a run that has made `step` of `total_steps` updates."""
        resume_step, is_root = step if is_resumed else None, world.is_root
        board = Board(run.tensorboard, enabled=is_root, resume_step=resume_step)
        if not is_resumed:
            shown = {"val/loss": "val loss", "val/accuracy": "val accuracy"}
            board.add_hparams(config.model_dump(mode="json"), shown)
        batch = config.global_batch_size
        progress = Progress(total_steps * batch, names.samples, is_root, initial=step * batch)
        return cls(
            run, board, progress, is_root, Window(names.samples),
            tracker=run.open_tracker(config, names.package) if is_root else None,
            names=names, log_every=config.log_every, total_steps=total_steps,
            ranks=RankTimes(world, allreduce_sum, gather_hosts),
        )  # fmt: skip

    def log_step(
        self,
        step: int,
        epoch: int,
        *,
        loss: float,
        accuracy: float,
        learning_rate: float,
        num_samples: int,
        times: StepTimes,
    ) -> None:
        """Log update number `step`. ``loss`` and ``accuracy`` are means over the global batch."""
        self.speed.add(num_samples, times)
        self.window.add({"loss": loss, "accuracy": accuracy}, num_samples, times)
        self.progress.advance(num_samples, step=step, loss=loss)
        if step % self.log_every == 0:
            figures = self.ranks.exchange(self.window.times, self.window.num_steps)
            self.log_ranks(figures)
            means = self.window.means()
            values = {**means, "learning_rate": learning_rate, **figures.to_json()}
            self.write(step, epoch, "train", values)
            self.window = Window(self.names.samples)

    def log_score(self, step: int, epoch: int, split: str, score: Score, seconds: float) -> None:
        """Log the score of a split. ``seconds`` is the training time so far."""
        self.write(step, epoch, split, {**score.to_json(), "seconds": seconds})
        if self.is_root:
            logger.info(
                "step %d of %d, epoch %d: %s loss %.4f, accuracy %.4f",
                step, self.total_steps, epoch, split, score.loss, score.accuracy,
            )  # fmt: skip


def gather_hosts() -> list[str]:
    """The host name of every rank. Every rank must call."""
    own = platform.node().encode()[:_HOST_BYTES].ljust(_HOST_BYTES)
    return [row.decode("utf-8", "replace").rstrip() for row in allgather_rows(own)]
