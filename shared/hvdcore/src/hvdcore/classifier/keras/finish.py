"""The end of a run: the best weights, their exact scores, the saved model and the report.

What a run tells while it trains: metrics.jsonl, TensorBoard, the bar and the log, by rank 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.figures import draw_results, report_values
from hvdcore.classifier.keras.checkpoints import restore_weights
from hvdcore.classifier.keras.evaluate import Classifier, evaluate, probabilities_of_all
from hvdcore.classifier.keras.state import Training
from hvdcore.classifier.report import write_report
from hvdcore.classifier.score import Part, Score, evenly
from hvdcore.classifier.splits import PARTS
from hvdcore.keras.collectives import allreduce_sum, any_rank, broadcast_object
from hvdcore.keras.weights import check_same_weights
from hvdcore.metrics.metrics import max_over_ranks
from hvdcore.run.checkpoint import best, load
from hvdcore.run.metrics_logger import RunRecord, StepTimes, Window
from hvdcore.run.run_dir import RunDir
from hvdcore.tracking.logs import get_logger
from hvdcore.tracking.progress import Progress
from hvdcore.tracking.tensorboard import Board

__all__ = [
    "Evaluation",
    "finish",
]

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


class Evaluation:
    """Scores the weights that are saved; the compiled model serves all parts and all times."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.classify = Classifier(training.averaged, training.task)

    def part(self, split: str) -> tuple[Part, npt.NDArray[np.int64]] | None:
        """Val or test whole; of train an even sample as large as the larger of them.

        Returns:
            The part and which of its samples; None where it is empty.
        """
        parts = self.training.task.parts
        n = len(parts[split])
        if split == "train":
            return parts[split], evenly(n, max(len(parts["val"]), len(parts["test"]), 1))
        return (parts[split], np.arange(n, dtype=np.int64)) if n else None

    def score(self, split: str) -> Score | None:
        """The exact score, on every rank; None where the part is empty. Every rank must call."""
        found, training = self.part(split), self.training
        if found is None:
            return None
        return evaluate(self.classify, *found, len(training.task.classes), training.world)

    def probabilities(self, split: str) -> npt.NDArray[np.float64] | None:
        """Of each sample, float64 [n, C], on every rank. Every rank must call."""
        found, training = self.part(split), self.training
        if found is None:
            return None
        num_classes = len(training.task.classes)
        return probabilities_of_all(self.classify, *found, num_classes, training.world)


def finish(training: Training, evaluation: Evaluation, record: Record) -> None:
    """Choose by val, read test once, save the model and write the report. Every rank must call."""
    chosen_step = take_best_weights(training, record)
    digest = check_same_weights(training.averaged)
    scores = {split: evaluation.score(split) for split in PARTS}
    shown = "test" if scores["test"] is not None else "val"
    probabilities = evaluation.probabilities(shown)
    seconds = max_over_ranks(record.speed.seconds, training.world, allreduce_sum)
    if training.world.is_root:
        run, task = record.run, training.task
        if scores["test"] is not None:
            record.evaluation(training, "test", scores["test"])
        task.save(run.model, training.averaged)
        values = {
            **run_values(training, chosen_step, digest),
            "samples_per_second": record.speed.num_units / seconds if seconds else None,
        }
        run.write_json("report.json", report_values(values, task.report(), scores, task.classes))
        if probabilities is not None:
            labels = task.parts[shown].labels
            draw_results(run.figures, shown, probabilities, labels, task.classes, task.words)
            task.draw(run, shown, probabilities)
        write_report([run.path], run.report_html, task.words)
        for figure in sorted(run.figures.glob("*.png")):
            record.board.add_image(figure.stem, figure.read_bytes(), training.step)
        logger.info("report: %s", run.report_html)
    any_rank(False)


def run_values(training: Training, chosen_step: int, digest: str) -> dict[str, Any]:
    """What report.json tells of the run itself."""
    return {
        "schema": 1,
        "package": training.task.words.package,
        "model": training.config.model,
        "num_parameters": training.model.count_params(),
        "size": training.world.size,
        "global_batch_size": training.config.global_batch_size,
        "seed": training.config.seed,
        "epochs": training.position.epoch,
        "steps": training.step,
        "chosen_step": chosen_step,
        "seconds": training.seconds,
        "weights_sha256": digest,
        "communication": training.steps.communication,
        "num_train_samples": training.num_train,
    }


def take_best_weights(training: Training, record: Record) -> int:
    """Load the checkpoint with the lowest val loss, if it is not the last; return its step."""
    found = best(record.run.checkpoints) if training.world.is_root else None
    path = broadcast_object("" if found is None else str(found.path))
    if not path:
        return training.step
    checkpoint = load(Path(path))
    if checkpoint.step != training.step:
        logger.info("the weights of step %d had the lowest val loss", checkpoint.step)
        restore_weights(training, checkpoint)
    return checkpoint.step
