"""Exact scores of a whole part, on all ranks: each picture once, sums and integer counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.confusion import accuracy, class_scores, confusion_matrix, macro_f1
from hvdcore.heartbeat import beat
from hvdcore.keras import allreduce_sum
from hvdcore.sharding import eval_range
from hvdcore.world import World
from image_cls.batches import filled_up
from image_cls.image_data import Part

__all__ = ["Classifier", "Score", "classifier", "evaluate", "probabilities_of_all"]

Classifier = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]]
"""Pictures uint8 [n, S, S, 3] to log-probabilities float64 [n, C]."""


@dataclass(frozen=True)
class Score:
    """The negative log-likelihood of a part in nats, and the count of each (class, answer).

    Attributes:
        nll_sum: over all pictures.
        matrix: int64 [C, C]; row = true class, column = predicted class.
    """

    nll_sum: float
    matrix: npt.NDArray[np.int64]

    @property
    def num_images(self) -> int:
        return int(self.matrix.sum())

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood of the true class, in nats."""
        return self.nll_sum / self.num_images

    @property
    def accuracy(self) -> float:
        return accuracy(self.matrix)

    def to_json(self) -> dict[str, float | int]:
        """The figures of a point of the curves: loss, accuracy, macro F1."""
        return {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "macro_f1": macro_f1(self.matrix),
            "num_images": self.num_images,
        }

    def with_classes(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """All figures of ``report.json``: those of each class too, and the matrix."""
        scores = class_scores(self.matrix)
        columns = (scores.precision, scores.recall, scores.f1, scores.support)
        rows = zip(classes, *(column.tolist() for column in columns), strict=True)
        per_class = {
            name: {"precision": p, "recall": r, "f1": f, "support": s} for name, p, r, f, s in rows
        }
        return {
            **self.to_json(),
            "classes": per_class,
            "confusion_matrix": self.matrix.tolist(),
        }


def classifier(model: keras.Model, batch_size: int) -> Classifier:
    """Compile a model for pictures in batches of one shape."""
    logits_of = tf.function(lambda images: model(images, training=False), autograph=False)

    phase = "start"  # the first batch compiles, for which the watchdog allows more time

    def classify(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        nonlocal phase
        found = [np.zeros((0, model.output_shape[-1]))]
        for start in range(0, len(pixels), batch_size):
            beat(phase)
            images = pixels[start : start + batch_size].astype(np.float32)
            logits = logits_of(tf.constant(filled_up(images, batch_size))).numpy()
            found.append(_log_softmax(logits[: len(images)].astype(np.float64)))
            phase = "evaluate"
        return np.concatenate(found)

    return classify


def _log_softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def evaluate(classify: Classifier, part: Part, num_classes: int, world: World) -> Score:
    """The score of all of ``part``. Every rank must call; every rank gets the same.

    Each rank takes a contiguous share, so a rank may have one picture less than another, or none.
    """
    share = eval_range(len(part), world.rank, world.size)
    labels = part.labels[share.start : share.stop]
    log_probabilities = classify(part.pixels[share.start : share.stop])
    nll = -log_probabilities[np.arange(len(labels)), labels].sum()
    matrix = confusion_matrix(labels, log_probabilities.argmax(axis=1), num_classes)
    return Score(float(allreduce_sum(np.array([nll]))[0]), allreduce_sum(matrix))


def probabilities_of_all(
    classify: Classifier, part: Part, num_classes: int, world: World
) -> npt.NDArray[np.float64]:
    """Each picture's probabilities, float64 [n, C], on every rank. Every rank must call."""
    share = eval_range(len(part), world.rank, world.size)
    pooled = np.zeros((len(part), num_classes))
    pooled[share.start : share.stop] = np.exp(classify(part.pixels[share.start : share.stop]))
    # Each row is written by one rank and zero on the others, so the sum is exact.
    return allreduce_sum(pooled)
