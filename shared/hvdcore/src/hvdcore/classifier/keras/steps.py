"""The compiled pieces of a step: gradients, their sum over ranks, the update.

Three calls, not one: the time that each takes can be told apart, and XLA may compile the first,
which it could not with the communication inside (horovod issue 2590).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from hvdcore.classifier.keras.batch import Batch
from hvdcore.keras.adamw import Update
from hvdcore.keras.reduction import GradientReduction

__all__ = ["StepSums", "Steps", "call"]


def call(model: keras.Model, inputs: Sequence[Any], *, training: bool) -> Any:
    """The logits of a model's heads, float32 [B, H, C].

    A model gives [B, C], or [B, H, C] for several heads: each is trained by itself, and the mean
    of their logits is the answer. Keras wants a lone input by itself.
    """
    logits = model(inputs[0] if len(inputs) == 1 else list(inputs), training=training)
    logits = tf.cast(logits, tf.float32)
    return logits if logits.shape.rank == 3 else logits[:, None, :]


def _cross_entropy(targets: Any, logits: Any) -> Any:
    return -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)


@dataclass(frozen=True)
class StepSums:
    """Of one step, over all ranks: the loss summed over samples, right answers, wishes to stop."""

    loss: float
    correct: float
    stop: bool


class Steps:
    """Computes and applies updates. Every rank must make the same calls.

    Args:
        model: what is trained.
        averaged: what is evaluated: a twin whose weights follow `model`'s, or `model` itself.
        optimizer: built for the trainable variables of `model`.
        ema_decay: decay a step of the twin's weights.
        xla: compile the gradients with XLA.

    Attributes:
        phase: of the heartbeat; the first step of a process compiles, for which the watchdog
            allows more time.
    """

    def __init__(
        self,
        model: keras.Model,
        averaged: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        ema_decay: float,
        xla: bool,
    ) -> None:
        self.model, self.averaged, self.optimizer = model, averaged, optimizer
        self.ema_decay = ema_decay
        self.phase = "start"
        self._reduction = GradientReduction("sum", None)
        self._gradients = tf.function(
            self._compute, jit_compile=xla, autograph=False, reduce_retracing=True
        )
        self._reduce = tf.function(self._reduction, autograph=False, reduce_retracing=True)
        self._update = Update(optimizer, model.trainable_variables, self._follow)

    @property
    def communication(self) -> dict[str, int]:
        """Bytes of a step's collective, for report.json; embeddings count whole."""
        sizes = [v.value.dtype.size * math.prod(v.shape) for v in self.model.trainable_variables]
        return {"allreduce_bytes": sum(sizes)}

    def gradients(self, batch: Batch, num_samples: int, stop: bool) -> list[Any]:
        """This rank's part of the mean loss's gradients, and its sums as the last tensor.

        Args:
            num_samples: samples of the global batch, over all ranks.
            stop: this rank wishes to stop.
        """
        gradients, loss, correct = self._gradients(
            batch.inputs, batch.targets, batch.weights, tf.constant(num_samples, tf.float32)
        )
        return [*gradients, tf.stack([loss, correct, tf.constant(float(stop))])]

    def reduce(self, tensors: Sequence[Any]) -> tuple[list[Any], StepSums]:
        """The sums over ranks of what `gradients` returned, in one collective. Of a table go over
        the wire, and come back, the rows that some rank used."""
        *gradients, sums = self._reduce(list(tensors))
        loss, correct, stop = sums.numpy()
        return gradients, StepSums(float(loss), float(correct), bool(stop > 0))

    def update(self, gradients: Sequence[Any], learning_rate: float, step: int) -> None:
        """Apply summed gradients; `step` updates were made before."""
        self.optimizer.learning_rate = learning_rate
        # A short memory at first, or the twin would long remember its random start.
        decay = min(self.ema_decay, (1 + step) / (10 + step))
        self._update(list(gradients), tf.constant(decay, tf.float32))
        self.phase = "compute"

    def _compute(self, inputs: Any, targets: Any, weights: Any, num_samples: Any) -> Any:
        with tf.GradientTape() as tape:
            heads = call(self.model, inputs, training=True)
            losses = tf.reduce_sum(_cross_entropy(targets[:, None, :], heads), axis=1)
            mean = tf.reduce_sum(weights * losses) / num_samples
        gradients = tape.gradient(mean, [v.value for v in self.model.trainable_variables])
        logits = tf.reduce_mean(heads, axis=1)
        loss = tf.reduce_sum(weights * _cross_entropy(targets, logits))
        right = tf.equal(tf.argmax(logits, axis=1), tf.argmax(targets, axis=1))
        return gradients, loss, tf.reduce_sum(weights * tf.cast(right, tf.float32))

    def _follow(self, decay: Any) -> None:
        """Move the twin's weights towards the model's."""
        if self.averaged is self.model:
            return
        twins = zip(self.averaged.trainable_variables, self.model.trainable_variables, strict=True)
        for mean, weight in twins:
            mean.assign(decay * mean.value + (1.0 - decay) * weight.value)
