"""The end of a run: the best weights, their exact scores, the saved model and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvdcore.checkpoint import best, load
from hvdcore.keras import allreduce_sum, any_rank, broadcast_object, check_same_weights
from hvdcore.logs import get_logger
from hvdcore.metrics import max_over_ranks
from image_cls.checkpoints import restore_weights
from image_cls.evaluate import Score, classifier, evaluate, probabilities_of_all
from image_cls.image_data import Part
from image_cls.pictures import draw_run_pictures
from image_cls.record import Record
from image_cls.report import write_report
from image_cls.saved_model import save_model
from image_cls.splits import PARTS
from image_cls.training import Training

logger = get_logger(__name__)


class Evaluation:
    """Scores the weights that are saved; the compiled model serves all parts and all times."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.classify = classifier(training.averaged, training.config.eval_batch_size)

    def part(self, split: str) -> Part | None:
        """Val or test whole; of train an even sample as large as the larger of them.

        None where the part is empty.
        """
        training = self.training
        if split != "train":
            part = training.data.parts[split]
            return part if len(part) else None
        size = max(len(training.data.parts["val"]), len(training.data.parts["test"]), 1)
        n = len(training.train)
        count = min(size, n)
        return training.train.take(np.arange(count, dtype=np.int64) * n // count)

    def score(self, split: str) -> Score | None:
        """The exact score, on every rank; None where the part is empty. Every rank must call."""
        part, training = self.part(split), self.training
        if part is None:
            return None
        return evaluate(self.classify, part, len(training.data.classes), training.world)

    def probabilities(self, split: str) -> npt.NDArray[np.float64] | None:
        """Of each picture, float64 [n, C], on every rank. Every rank must call."""
        part, training = self.part(split), self.training
        if part is None:
            return None
        num_classes = len(training.data.classes)
        return probabilities_of_all(self.classify, part, num_classes, training.world)


def finish(training: Training, evaluation: Evaluation, record: Record) -> None:
    """Choose by val, read test once, save the model and write the report. Every rank must call."""
    chosen_step = take_best_weights(training, record)
    digest = check_same_weights(training.averaged)
    scores = {split: evaluation.score(split) for split in PARTS}
    shown = "test" if scores["test"] is not None else "val"
    probabilities = evaluation.probabilities(shown)
    seconds = max_over_ranks(record.speed.seconds, training.world, allreduce_sum)
    if training.world.is_root:
        run, data = record.run, training.data
        if scores["test"] is not None:
            record.evaluation(training, "test", scores["test"])
        save_model(run.model, training.averaged, data.classes, data.image_size)
        speed = record.speed.num_units / seconds if seconds else None
        run.write_json("report.json", report_values(training, scores, chosen_step, speed, digest))
        part = evaluation.part(shown)
        if part is not None and probabilities is not None:
            draw_run_pictures(training, record, shown, part, probabilities)
        write_report([run.path], run.report_html)
        for figure in sorted(run.figures.glob("*.png")):
            record.board.add_image(figure.stem, figure.read_bytes(), training.step)
        logger.info("report: %s", run.report_html)
    any_rank(False)


def report_values(
    training: Training,
    scores: dict[str, Score | None],
    chosen_step: int,
    speed: float | None,
    digest: str,
) -> dict[str, Any]:
    """What report.json holds."""
    config, data = training.config, training.data
    return {
        "schema": 1,
        "package": "image_cls",
        "model": config.model,
        "num_parameters": training.model.count_params(),
        "size": training.world.size,
        "global_batch_size": config.global_batch_size,
        "seed": config.seed,
        "epochs": training.position.epoch,
        "steps": training.step,
        "chosen_step": chosen_step,
        "seconds": training.seconds,
        "samples_per_second": speed,
        "weights_sha256": digest,
        "num_train_images": len(training.train),
        "images": {
            "key": data.key,
            "parts": data.meta["parts"],
            "left_out": data.meta["left_out"],
            "skipped": {why: entry["count"] for why, entry in data.meta["skipped"].items()},
        },
        **{
            split: score.with_classes(data.classes)
            for split, score in scores.items()
            if score is not None
        },
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
