"""What a training run is made of: task, model, optimizer, and where the run stands.

The compiled pieces of a step: gradients, their sum over ranks, the update.

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

from hvdcore.classifier.config import ClassifierConfig, OptimizerFields
from hvdcore.classifier.keras.task import Batch, Task
from hvdcore.classifier.preflight import check_schedule_of, total_steps, warmup_steps
from hvdcore.keras.adamw import RowwiseAdamW, Update
from hvdcore.keras.reduction import GradientReduction
from hvdcore.keras.weights import broadcast_model
from hvdcore.metrics.schedule import learning_rate_at
from hvdcore.runtime.world import World
from hvdcore.sharding import Position

__all__ = [
    "StepSums",
    "Steps",
    "Training",
    "build_training",
    "call",
]


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


EVALUATIONS = 30
"""In a run, at most, unless `eval_every` says otherwise."""


@dataclass
class Training:
    """A run in memory. ``position`` and ``step`` move; the rest is fixed."""

    task: Task
    world: World
    model: keras.Model
    averaged: keras.Model
    """What is evaluated and saved; `model` itself without a running average."""
    optimizer: keras.optimizers.Optimizer
    steps: Steps
    total_steps: int
    position: Position
    step: int = 0
    """Updates made."""
    seconds: float = 0.0
    """Spent in the loop, evaluations and checkpoints included, over all resumed parts."""
    best_val_loss: float = math.inf
    """Of the evaluations so far, on all ranks alike."""
    evaluations_without_gain: int = 0
    """Since the best val loss."""

    @property
    def config(self) -> ClassifierConfig:
        return self.task.config

    @property
    def num_train(self) -> int:
        """Samples of an epoch."""
        return len(self.task.parts["train"])

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return -(-self.num_train // self.config.global_batch_size)

    @property
    def eval_every(self) -> int:
        """Steps between two evaluations: whole epochs, by default."""
        if self.config.eval_every is not None:
            return self.config.eval_every
        epochs = -(-self.total_steps // self.per_epoch)
        return self.per_epoch * max(1, -(-epochs // EVALUATIONS))

    def learning_rate(self) -> float:
        """For the update that comes next."""
        return learning_rate_at(
            self.step,
            peak=self.task.peak_learning_rate,
            warmup_steps=warmup_steps(self.config, self.total_steps),
            total_steps=self.total_steps,
            final_fraction=self.config.final_learning_rate_fraction,
            shape="cosine",
        )

    def out_of_patience(self) -> bool:
        """Whether val has not gained for as long as was asked for; alike on all ranks."""
        patience = self.config.patience
        return patience is not None and self.evaluations_without_gain >= patience


def build_training(task: Task, world: World) -> Training:
    """Everything at step 0, the same on every rank. Every rank must call.

    Raises:
        UserError: the batch, the schedule or the model cannot be.
    """
    config, n = task.config, len(task.parts["train"])
    check_schedule_of(config, n, world.size, samples=task.words.samples)
    keras.config.set_dtype_policy(_precision(config.dtype))
    model = task.build_model()
    optimizer = _optimizer(config, task.peak_learning_rate, model)
    model.optimizer = optimizer  # so that the broadcast includes its state
    broadcast_model(model)
    averaged = model
    if config.ema_decay > 0.0:
        averaged = task.build_model()
        averaged.set_weights(model.get_weights())
    steps = Steps(
        model, averaged, optimizer, ema_decay=config.ema_decay, xla=config.compiler == "xla"
    )
    return Training(
        task=task,
        world=world,
        model=model,
        averaged=averaged,
        optimizer=optimizer,
        steps=steps,
        total_steps=total_steps(config, n),
        position=Position(),
    )


def _optimizer(
    config: OptimizerFields, peak: float, model: keras.Model
) -> keras.optimizers.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), its state made; of tables, the rows that a step uses."""
    optimizer = RowwiseAdamW(
        peak,
        weight_decay=config.weight_decay,
        beta_2=0.99,  # runs are short: a longer memory would still hold the first steps
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    return optimizer


def _precision(dtype: str) -> str:
    """Keras's name for the precision; weights are float32 always."""
    if dtype == "auto":
        dtype = "bfloat16" if tf.config.list_physical_devices("GPU") else "float32"
    return "mixed_bfloat16" if dtype == "bfloat16" else "float32"
