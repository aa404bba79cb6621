"""Exact scores of a whole part, on all ranks: each sample once, sums and integer counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.classifier.keras.batch import Inputs
from hvdcore.classifier.keras.steps import call
from hvdcore.classifier.parts import Part
from hvdcore.classifier.score import Score
from hvdcore.keras.collectives import allreduce_sum
from hvdcore.metrics.classification import confusion_matrix
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices, eval_range

if TYPE_CHECKING:
    from hvdcore.classifier.keras.task import EvalTask

__all__ = ["Answers", "Classifier", "evaluate", "probabilities_of_all"]


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
