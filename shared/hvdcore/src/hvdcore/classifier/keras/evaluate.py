"""Exact scores of a whole part, on all ranks: each sample once, sums and integer counts.

The verb ``evaluate``: the exact score of a saved model on parts of the data, on all ranks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.classifier.keras.saved_model import load_model
from hvdcore.classifier.keras.state import call
from hvdcore.classifier.keras.task import EvalTask, Inputs
from hvdcore.classifier.model_folder import load_preprocessing
from hvdcore.classifier.preflight import check_classes, check_evaluation
from hvdcore.classifier.score import Part, Score
from hvdcore.keras.collectives import allreduce_sum
from hvdcore.keras.startup import init
from hvdcore.metrics.classification import confusion_matrix
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices, eval_range
from hvdcore.tracking.logs import get_logger, setup_logging

__all__ = [
    "Answers",
    "Classifier",
    "evaluate",
    "probabilities_of_all",
    "score_run",
]


class Answers:
    """A model's answers to batches of inputs, compiled once for each shape."""

    def __init__(self, model: keras.Model) -> None:
        self._phase = "start"  # the first batch compiles, for which the watchdog allows more time
        self._logits = tf.function(
            lambda inputs: tf.reduce_mean(call(model, inputs, training=False), axis=1),
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


class Classifier:
    """A model's answers to the samples of a task."""

    def __init__(self, model: keras.Model, task: EvalTask) -> None:
        self.task = task
        self._answers = Answers(model)

    def __call__(self, part: Part, indices: Indices) -> npt.NDArray[np.float64]:
        """Log-probabilities float64 [n, C] of these samples, in their order."""
        found = np.zeros((len(indices), len(self.task.classes)))
        for places, inputs in self.task.eval_batches(part, indices):
            found[places] = self._answers(inputs)[: len(places)]
        return found


def evaluate(
    classify: Classifier, part: Part, indices: Indices, num_classes: int, world: World
) -> Score:
    """The score of these samples of a part. Every rank must call; every rank gets the same.

    Each rank takes a contiguous share, so a rank may have one sample less than another, or none.
    """
    share = indices[_share(len(indices), world)]
    labels = part.labels[share]
    log_probabilities = classify(part, share)
    nll = -log_probabilities[np.arange(len(labels)), labels].sum()
    matrix = confusion_matrix(labels, log_probabilities.argmax(axis=1), num_classes)
    return Score(float(allreduce_sum(np.array([nll]))[0]), allreduce_sum(matrix))


def probabilities_of_all(
    classify: Classifier, part: Part, indices: Indices, num_classes: int, world: World
) -> npt.NDArray[np.float64]:
    """The probabilities of these samples of a part, float64 [n, C], on every rank. Every rank
    must call."""
    pooled = np.zeros((len(indices), num_classes))
    share = _share(len(indices), world)
    pooled[share] = np.exp(classify(part, indices[share]))
    # Each row is written by one rank and zero on the others, so the sum is exact.
    return allreduce_sum(pooled)


def _share(n: int, world: World) -> slice:
    share = eval_range(n, world.rank, world.size)
    return slice(share.start, share.stop)


logger = get_logger(__name__)


def score_run(
    path: Path,
    splits: Sequence[str],
    open_task: Callable[[RunDir, dict[str, Any], World], EvalTask],
) -> int:
    """Score the parts and print one JSON object on rank 0. Every rank must call.

    Args:
        path: of a run.
        open_task: opens the data for a run and its model's preprocessing; every rank calls it.

    Returns:
        The exit code, 0.

    Raises:
        UserError: no run, no model in it, no such part, or data of other classes.
    """
    world = init()
    setup_logging(world, None)
    run = check_evaluation(path, splits)
    preprocessing = load_preprocessing(run.model)
    task = open_task(run, preprocessing, world)
    classes = tuple(map(str, preprocessing["classes"]))
    check_classes(task.classes, classes)
    scores = score_parts(Classifier(load_model(run.model), task), splits, world)
    if world.is_root:
        print(json.dumps(scores, indent=2, ensure_ascii=False), flush=True)
    return 0


def score_parts(classify: Classifier, splits: Sequence[str], world: World) -> dict[str, Any]:
    """All figures of each part that is not empty. Every rank must call."""
    task, scores = classify.task, {}
    for split in splits:
        part = task.parts[split]
        if len(part):
            every = np.arange(len(part), dtype=np.int64)
            score = evaluate(classify, part, every, len(task.classes), world)
            scores[split] = score.with_classes(task.classes)
        else:
            logger.warning("the %s part of this data is empty; it is not scored", split)
    return scores
