"""What a run tells while it trains: metrics.jsonl, TensorBoard, the bar and the log, by rank 0."""

from __future__ import annotations

from hvdcore.classifier.keras.state import Training
from hvdcore.classifier.score import Score
from hvdcore.run.metrics_logger import RunRecord, StepTimes, Window
from hvdcore.run.run_dir import RunDir
from hvdcore.tracking.logs import get_logger
from hvdcore.tracking.progress import Progress
from hvdcore.tracking.tensorboard import Board

logger = get_logger(__name__)


class Record(RunRecord):
    """What a step and a score of a classifier are."""

    @classmethod
    def of(cls, training: Training, run: RunDir, resume_step: int | None) -> Record:
        """A record of the run; with ``resume_step``, going on after that step."""
        is_root, unit = training.world.is_root, training.task.words.unit
        board = Board(run.tensorboard, enabled=is_root, resume_step=resume_step)
        if resume_step is None:
            shown = {"val/loss": "val loss", "val/accuracy": "val accuracy"}
            board.add_hparams(training.config.model_dump(mode="json"), shown)
        per_step = training.config.global_batch_size
        progress = Progress(
            training.total_steps * per_step, unit, is_root, initial=training.step * per_step
        )
        return cls(run, board, progress, is_root, Window(unit))

    def step(
        self,
        training: Training,
        *,
        loss: float,
        accuracy: float,
        learning_rate: float,
        num_samples: int,
        times: StepTimes,
    ) -> None:
        """One update was made. ``loss`` and ``accuracy`` are means over the global batch."""
        self.speed.add(num_samples, times)
        self.window.add({"loss": loss, "accuracy": accuracy}, num_samples, times)
        self.progress.advance(num_samples, step=training.step, loss=loss)
        if training.step % training.config.log_every == 0:
            values = {**self.window.means(), "learning_rate": learning_rate}
            self.write(training.step, training.position.epoch, "train", values)
            self.window = Window(training.task.words.unit)

    def evaluation(self, training: Training, split: str, score: Score) -> None:
        """A part was scored by all ranks."""
        values = {**score.to_json(), "seconds": training.seconds}
        self.write(training.step, training.position.epoch, split, values)
        if self.is_root:
            logger.info(
                "step %d of %d, epoch %d: %s loss %.4f, accuracy %.4f",
                training.step, training.total_steps, training.position.epoch, split,
                score.loss, score.accuracy,
            )  # fmt: skip
