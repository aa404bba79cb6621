"""Exact scores of whole splits on all ranks: each sample once, sums and integer counts.

Also the command ``evaluate``, which scores a saved model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.classifier.keras.saved_model import load_model
from hvdcore.classifier.keras.state import head_logits
from hvdcore.classifier.keras.task import EvalTask, Inputs
from hvdcore.classifier.model_folder import load_preprocessing
from hvdcore.classifier.preflight import check_classes, check_evaluation
from hvdcore.classifier.score import Score
from hvdcore.classifier.splits import Split, subsample
from hvdcore.files.json_files import json_for_terminal
from hvdcore.keras.collectives import allreduce_sum
from hvdcore.keras.startup import init
from hvdcore.metrics.classification import confusion_matrix
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices, eval_range
from hvdcore.tracking.logs import get_logger, setup_logging

__all__ = [
    "Evaluator",
    "Predictor",
    "SplitPredictor",
    "evaluate",
    "evaluate_run",
    "gather_probabilities",
]

logger = get_logger(__name__)


class Predictor:
    """A model's predictions for batches of inputs, compiled once per shape."""

    def __init__(self, model: keras.Model) -> None:
        self._phase = "start"  # the first batch compiles, for which the watchdog allows more time
        self._logits = tf.function(
            lambda inputs: tf.reduce_mean(head_logits(model, inputs, training=False), axis=1),
            autograph=False,
            reduce_retracing=True,
        )

    def __call__(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        """Log-probabilities float64 [B, C]."""
        beat(self._phase)
        logits = self._logits(inputs).numpy().astype(np.float64)
        self._phase = "evaluate"
        shifted = logits - logits.max(axis=1, keepdims=True)
        found: npt.NDArray[np.float64] = shifted - np.log(
            np.exp(shifted).sum(axis=1, keepdims=True)
        )
        return found


class SplitPredictor:
    """A model's predictions for the samples of a task's splits."""

    def __init__(self, model: keras.Model, task: EvalTask) -> None:
        self.task = task
        self._predict = Predictor(model)

    def __call__(self, split: Split, indices: Indices) -> npt.NDArray[np.float64]:
        """Log-probabilities float64 [n, C] of the samples at these indices, in their order."""
        found = np.zeros((len(indices), len(self.task.classes)))
        for positions, inputs in self.task.eval_batches(split, indices):
            found[positions] = self._predict(inputs)[: len(positions)]
        return found


Predict = Callable[[Split, Indices], npt.NDArray[np.float64]]
"""Log-probabilities [n, C] of samples of a split."""


def evaluate(
    predict: Predict, split: Split, indices: Indices, num_classes: int, world: World
) -> Score:
    """The score of these samples of a split, the same on every rank. Every rank must call.

    Each rank takes a contiguous shard, so a rank may have one sample less than another, or none.
    """
    shard = indices[_shard(len(indices), world)]
    labels = split.labels[shard]
    log_probabilities = predict(split, shard)
    nll = -log_probabilities[np.arange(len(labels)), labels].sum()
    matrix = confusion_matrix(labels, log_probabilities.argmax(axis=1), num_classes)
    return Score(float(allreduce_sum(np.array([nll]))[0]), allreduce_sum(matrix))


def gather_probabilities(
    predict: Predict, split: Split, indices: Indices, num_classes: int, world: World
) -> npt.NDArray[np.float64]:
    """The probabilities of these samples, float64 [n, C], on every rank. Every rank must call."""
    gathered = np.zeros((len(indices), num_classes))
    shard = _shard(len(indices), world)
    gathered[shard] = np.exp(predict(split, indices[shard]))
    # Each row is written by one rank and zero on the others, so the sum is exact.
    return allreduce_sum(gathered)


def _shard(n: int, world: World) -> slice:
    shard = eval_range(n, world.rank, world.size)
    return slice(shard.start, shard.stop)


class Evaluator:
    """Scores a model on the splits of a task. The compiled model serves all evaluations."""

    def __init__(self, model: keras.Model, task: EvalTask, world: World) -> None:
        self.task, self.world = task, world
        self.predict = SplitPredictor(model, task)

    def samples(self, name: str) -> tuple[Split, Indices] | None:
        """All of val or test; of train an evenly spaced subset, as large as the larger of them.

        Returns:
            The split and the indices of the samples; None if the split is empty.
        """
        split, sizes = self.task.splits[name], {n: len(s) for n, s in self.task.splits.items()}
        if name == "train":
            return split, subsample(len(split), max(sizes["val"], sizes["test"], 1))
        return (split, np.arange(len(split), dtype=np.int64)) if len(split) else None

    def score(self, name: str) -> Score | None:
        """The exact score, on every rank; None if the split is empty. Every rank must call."""
        found = self.samples(name)
        if found is None:
            return None
        return evaluate(self.predict, *found, len(self.task.classes), self.world)

    def probabilities(self, name: str) -> npt.NDArray[np.float64] | None:
        """Of each sample, float64 [n, C], on every rank. Every rank must call."""
        found = self.samples(name)
        if found is None:
            return None
        return gather_probabilities(self.predict, *found, len(self.task.classes), self.world)


def evaluate_run(
    path: Path,
    splits: Sequence[str],
    open_task: Callable[[RunDir, dict[str, Any], World], EvalTask],
) -> int:
    """Score a saved model and print one JSON object on rank 0. Every rank must call.

    Args:
        path: of the run.
        splits: names of the splits to score.
        open_task: opens the data for a run and its model's preprocessing; every rank calls it.

    Returns:
        The exit code, 0.

    Raises:
        UserError: no run, no model in it, no such split, or data with other classes.
    """
    world = init()
    setup_logging(world, None)
    run = check_evaluation(path, splits)
    preprocessing = load_preprocessing(run.model)
    task = open_task(run, preprocessing, world)
    classes = tuple(map(str, preprocessing["classes"]))
    check_classes(task.classes, classes)
    scores = score_splits(SplitPredictor(load_model(run.model), task), splits, world)
    if world.is_root:
        print(json_for_terminal(scores, indent=2), flush=True)
    return 0


def score_splits(predict: SplitPredictor, names: Sequence[str], world: World) -> dict[str, Any]:
    """All values of each split that is not empty. Every rank must call."""
    task, scores = predict.task, {}
    for name in names:
        split = task.splits[name]
        if len(split):
            every = np.arange(len(split), dtype=np.int64)
            score = evaluate(predict, split, every, len(task.classes), world)
            scores[name] = score.with_classes(task.classes)
        else:
            logger.warning("the %s split of this data is empty; it is not scored", name)
    return scores
