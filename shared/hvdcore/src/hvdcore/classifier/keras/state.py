"""What a training run is made of: task, model, optimizer, and where the run stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
import tensorflow as tf

from hvdcore.classifier.config import ClassifierConfig, OptimizerFields
from hvdcore.classifier.keras.steps import Steps
from hvdcore.classifier.keras.task import Task
from hvdcore.classifier.preflight import check_schedule_of, total_steps, warmup_steps
from hvdcore.keras.adamw import RowwiseAdamW
from hvdcore.keras.weights import broadcast_model
from hvdcore.metrics.schedule import learning_rate_at
from hvdcore.runtime.world import World
from hvdcore.sharding import Position

__all__ = ["Training", "build_training"]

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
