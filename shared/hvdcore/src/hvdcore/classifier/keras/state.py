"""The state of a training run: task, model, optimizer, position, and the compiled step.

A step is three calls, not one: gradients, their sum over ranks, and the update. Their times can
then be measured separately, and XLA can compile the first, which it could not with the
communication inside (horovod issue 2590). Over a network the first two are one call, so that the
sums begin during the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import keras
import tensorflow as tf

from hvdcore.classifier.config import ClassifierConfig
from hvdcore.classifier.keras.task import Batch, Task
from hvdcore.classifier.preflight import check_schedule_of, total_steps, warmup_steps
from hvdcore.keras.adamw import RowwiseAdamW, Update
from hvdcore.keras.muon import ConvolutionMuon
from hvdcore.keras.reduction import BUCKET_BYTES, GradientReduction
from hvdcore.keras.weights import broadcast_model
from hvdcore.metrics.schedule import learning_rate_at
from hvdcore.runtime.world import World
from hvdcore.sharding import Position

__all__ = [
    "StepGradients",
    "StepSums",
    "Steps",
    "TrainState",
    "build_state",
    "head_logits",
]


def head_logits(model: keras.Model, inputs: Sequence[Any], *, training: bool) -> Any:
    """The logits of a model's heads, float32 [B, H, C].

    A model gives [B, C], or [B, H, C] if it has several heads: each is trained independently, and
    the mean of their logits is the prediction. Keras expects a single input not to be in a list.
    """
    logits = model(inputs[0] if len(inputs) == 1 else list(inputs), training=training)
    logits = tf.cast(logits, tf.float32)
    return logits if logits.shape.rank == 3 else logits[:, None, :]


def _cross_entropy(targets: Any, logits: Any) -> Any:
    return -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)


@dataclass(frozen=True)
class StepSums:
    """Sums of one step over all ranks.

    Attributes:
        loss: summed over the samples.
        correct: number of correct predictions.
        stop: whether any rank was asked to stop.
        failed: whether rank 0 could not write a checkpoint.
    """

    loss: float
    correct: float
    stop: bool
    failed: bool = False


@dataclass(frozen=True)
class StepGradients:
    """The gradients of one step.

    Attributes:
        own: this rank's share, one for each trainable variable.
        own_loss: the loss summed over this rank's samples.
        summed: over all ranks.
        sums: of the step's metrics over all ranks.
        waited: seconds from the last own gradient to the last sum.
    """

    own: list[Any]
    own_loss: float
    summed: list[Any]
    sums: StepSums
    waited: float


class Steps:
    """Computes and applies updates. Every rank must make the same calls.

    Args:
        model: the model to train.
        averaged: the model to evaluate: a copy with the moving average of the weights, or `model`.
        optimizer: built for the trainable variables of `model`.
        ema_decay: decay per step of the moving average.
        xla: compile the gradients with XLA.
        overlap: sum gradients during the backward pass. Worth it over a network; on one host the
            copies take a core from the backward pass.
        wire_dtype: as `GradientReduction` takes it.

    Attributes:
        phase: for the heartbeat; the first step of a process compiles, for which the watchdog
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
        overlap: bool = False,
        wire_dtype: str = "float32",
    ) -> None:
        self.model, self.averaged, self.optimizer = model, averaged, optimizer
        self.ema_decay = ema_decay
        self.phase = "start"
        self._reduction = GradientReduction("sum", None, wire_dtype, overlap=False)
        self._wire_bytes = tf.as_dtype(wire_dtype).size
        self._gradients = tf.function(
            self._compute, jit_compile=xla, autograph=False, reduce_retracing=True
        )
        self._reduce = tf.function(self._reduction, autograph=False, reduce_retracing=True)
        self._overlapped = tf.function(
            self._compute_and_reduce, autograph=False, reduce_retracing=True
        )
        self._xla = xla
        self.overlap = overlap and not xla
        self._norm = tf.function(tf.linalg.global_norm, autograph=False, reduce_retracing=True)
        self._update = Update(optimizer, model.trainable_variables, self._update_average)

    @property
    def communication(self) -> dict[str, int]:
        """Bytes of a step's allreduce, for report.json, and of a bucket over several hosts.

        Embedding tables count in full.
        """
        sizes = [self._wire_bytes * math.prod(v.shape) for v in self.model.trainable_variables]
        buckets = {} if self._xla else {"bucket_bytes": BUCKET_BYTES}
        return {"allreduce_bytes": sum(sizes), **buckets}

    def summed_gradients(
        self, batch: Batch, num_samples: int, stop: bool, *, failed: bool = False
    ) -> StepGradients:
        """The gradients of the mean loss over the global batch. Every rank must call.

        Args:
            num_samples: samples of the global batch, over all ranks.
            stop: whether this rank was asked to stop.
            failed: whether it could not write a checkpoint.
        """
        if self.overlap:
            return self._summed_on_the_way(batch, num_samples, stop, failed)
        *own, totals = self.gradients(batch, num_samples, stop, failed=failed)
        computed = perf_counter()
        summed, sums = self.reduce([*own, totals])
        loss = float(totals.numpy()[0])
        return StepGradients(own, loss, summed, sums, perf_counter() - computed)

    def _summed_on_the_way(
        self, batch: Batch, num_samples: int, stop: bool, failed: bool
    ) -> StepGradients:
        flags = tf.constant([float(stop), float(failed)])
        (*own, totals), (*summed, sums), times = self._overlapped(
            batch.inputs, batch.targets, batch.weights, tf.constant(num_samples, tf.float32), flags
        )
        computed, done = times.numpy()
        return StepGradients(
            own, float(totals.numpy()[0]), summed, _step_sums(sums), float(done - computed)
        )

    def gradients(
        self, batch: Batch, num_samples: int, stop: bool, *, failed: bool = False
    ) -> list[Any]:
        """This rank's share of the gradients of the mean loss, with its sums as the last tensor.

        Args:
            num_samples: samples of the global batch, over all ranks.
            stop: whether this rank was asked to stop.
            failed: whether it could not write a checkpoint.
        """
        gradients, loss, correct = self._gradients(
            batch.inputs, batch.targets, batch.weights, tf.constant(num_samples, tf.float32)
        )
        return [*gradients, tf.concat([[loss, correct], [float(stop), float(failed)]], axis=0)]

    def reduce(self, tensors: Sequence[Any]) -> tuple[list[Any], StepSums]:
        """The sums over ranks of what `gradients` returned, in one collective.

        Of an embedding table only the rows that some rank used are communicated.
        """
        *gradients, sums = self._reduce(list(tensors))
        return gradients, _step_sums(sums)

    def gradient_norm(self, gradients: Sequence[Any]) -> float:
        """The global norm of the summed gradients."""
        return float(self._norm(list(gradients)))

    def update(self, gradients: Sequence[Any], learning_rate: float, step: int) -> None:
        """Apply the summed gradients, after `step` earlier updates."""
        self.optimizer.learning_rate = learning_rate
        # A smaller decay at first, or the average would keep the random initial weights for long.
        decay = min(self.ema_decay, (1 + step) / (10 + step))
        self._update(list(gradients), tf.constant(decay, tf.float32))
        self.phase = "compute"

    def _compute(self, inputs: Any, targets: Any, weights: Any, num_samples: Any) -> Any:
        with tf.GradientTape() as tape:
            heads = head_logits(self.model, inputs, training=True)
            losses = tf.reduce_sum(_cross_entropy(targets[:, None, :], heads), axis=1)
            mean = tf.reduce_sum(weights * losses) / num_samples
        gradients = tape.gradient(mean, [v.value for v in self.model.trainable_variables])
        logits = tf.reduce_mean(heads, axis=1)
        loss = tf.reduce_sum(weights * _cross_entropy(targets, logits))
        correct = tf.equal(tf.argmax(logits, axis=1), tf.argmax(targets, axis=1))
        return gradients, loss, tf.reduce_sum(weights * tf.cast(correct, tf.float32))

    def _compute_and_reduce(
        self, inputs: Any, targets: Any, weights: Any, num_samples: Any, flags: Any
    ) -> Any:
        gradients, loss, correct = self._compute(inputs, targets, weights, num_samples)
        own = [*gradients, tf.concat([[loss, correct], flags], axis=0)]
        return own, *self._reduction.overlapped(own)

    def _update_average(self, decay: Any) -> None:
        """Move the averaged weights towards the model's."""
        if self.averaged is self.model:
            return
        pairs = zip(self.averaged.trainable_variables, self.model.trainable_variables, strict=True)
        for mean, weight in pairs:
            mean.assign(decay * mean.value + (1.0 - decay) * weight.value)


def _step_sums(sums: Any) -> StepSums:
    loss, correct, stop, failed = sums.numpy()
    return StepSums(float(loss), float(correct), bool(stop > 0), bool(failed > 0))


MAX_EVALUATIONS = 30
"""In a run, unless `eval_every` is set."""


@dataclass
class TrainState:
    """A run in memory. The fields from ``position`` on change as it trains."""

    task: Task
    world: World
    model: keras.Model
    averaged: keras.Model
    """What is evaluated and saved; `model` itself without a moving average."""
    optimizer: keras.optimizers.Optimizer
    steps: Steps
    total_steps: int
    position: Position
    step: int = 0
    """Updates made so far."""
    seconds: float = 0.0
    """Training time, with evaluations and checkpoints, also of the runs that this one resumes."""
    best_val_loss: float = math.inf
    """Of the evaluations so far, the same on all ranks."""
    evals_since_best: int = 0
    """Evaluations since the best val loss."""

    @property
    def config(self) -> ClassifierConfig:
        return self.task.config

    @property
    def num_train(self) -> int:
        """Samples per epoch."""
        return len(self.task.splits["train"])

    @property
    def per_epoch(self) -> int:
        """Steps per epoch."""
        return -(-self.num_train // self.config.global_batch_size)

    @property
    def eval_every(self) -> int:
        """Steps between evaluations; by default whole epochs."""
        if self.config.eval_every is not None:
            return self.config.eval_every
        epochs = -(-self.total_steps // self.per_epoch)
        return self.per_epoch * max(1, -(-epochs // MAX_EVALUATIONS))

    def learning_rate(self) -> float:
        """For the next update."""
        return learning_rate_at(
            self.step,
            peak=self.task.peak_learning_rate,
            warmup_steps=warmup_steps(self.config, self.total_steps),
            total_steps=self.total_steps,
            final_fraction=self.config.final_learning_rate_fraction,
            shape="cosine",
        )

    def out_of_patience(self) -> bool:
        """Whether val loss has not improved for `patience` evaluations; the same on all ranks."""
        patience = self.config.patience
        return patience is not None and self.evals_since_best >= patience

    def run_fingerprint(self) -> dict[str, Any]:
        """What must be equal for a checkpoint to be resumed."""
        return {
            "model": self.config.model,
            "num_parameters": self.model.count_params(),
            **self.task.run_fingerprint(),
            "global_batch_size": self.config.global_batch_size,
            "seed": self.config.seed,
            "optimizer": "muon" if self.config.uses_muon else "adamw",
        }


def build_state(task: Task, world: World) -> TrainState:
    """The state at step 0, the same on every rank. Every rank must call.

    Raises:
        UserError: the batch size, the schedule or the model is not possible.
    """
    config, n = task.config, len(task.splits["train"])
    check_schedule_of(config, n, world.size, samples=task.names.samples)
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
        model, averaged, optimizer, ema_decay=config.ema_decay, xla=config.compiler == "xla",
        overlap=world.size > world.local_size, wire_dtype=config.gradient_dtype,
    )  # fmt: skip
    return TrainState(
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
    config: ClassifierConfig, peak: float, model: keras.Model
) -> keras.optimizers.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), built; of embedding tables it updates the used rows, and
    with Muon it leaves the kernels of convolutions to that."""
    optimizer = (ConvolutionMuon if config.uses_muon else RowwiseAdamW)(
        peak,
        weight_decay=config.weight_decay,
        beta_2=0.99,  # runs are short: a larger value would still weight the first steps
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    return optimizer


def _precision(dtype: str) -> str:
    """Keras's dtype policy; weights are always float32."""
    if dtype == "auto":
        dtype = "bfloat16" if tf.config.list_physical_devices("GPU") else "float32"
    return "mixed_bfloat16" if dtype == "bfloat16" else "float32"
