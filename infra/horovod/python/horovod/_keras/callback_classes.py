"""The callbacks that users make, as classes of the Keras that `tf.keras` is.

That is Keras 3, or tf_keras where TF_USE_LEGACY_KERAS=1 is set. Their work is in
`horovod._keras.callbacks` and `horovod._keras.elastic`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from horovod._keras import callbacks as _impl
from horovod._keras import elastic as _elastic
from tensorflow import keras

__all__ = [
    "BestModelCheckpoint",
    "BroadcastGlobalVariablesCallback",
    "CommitStateCallback",
    "LearningRateScheduleCallback",
    "LearningRateWarmupCallback",
    "MetricAverageCallback",
    "UpdateBatchStateCallback",
    "UpdateEpochStateCallback",
]

_backend = tf.keras.backend


class BroadcastGlobalVariablesCallback(
    _impl.BroadcastGlobalVariablesCallbackImpl, keras.callbacks.Callback
):
    """Starts all ranks from the root's weights and optimizer state.

    Args:
        root_rank: whose variables are sent.
        device: where the operations run.
        local_variables: a variable or several that each rank keeps as they are.
    """

    def __init__(self, root_rank: int, device: str = "", local_variables: Any = None) -> None:
        super().__init__(_backend, root_rank, device, local_variables)


class MetricAverageCallback(_impl.MetricAverageCallbackImpl, keras.callbacks.Callback):
    """Averages the metrics of an epoch over ranks, for the callbacks that follow it in the list.

    It is the mean of the ranks' results, which is the result over all data only where ranks have
    equally many samples and the metric is a mean itself.

    Args:
        device: where the operations run.
    """

    def __init__(self, device: str = "") -> None:
        super().__init__(_backend, device)


class LearningRateScheduleCallback(
    _impl.LearningRateScheduleCallbackImpl, keras.callbacks.Callback
):
    """Sets the learning rate to `initial_lr * multiplier` from one epoch to another.

    Args:
        initial_lr: the learning rate that is multiplied.
        multiplier: a function of the epoch, or a number, which is raised to the power of the
            epochs since `start_epoch`.
        start_epoch: the first epoch in which it acts.
        end_epoch: the epoch before which it ends; None: never.
        staircase: change at the beginning of each epoch; else at each batch, and the epoch that
            the function gets is then `epoch + batch / steps_per_epoch`.
        momentum_correction: scale the velocity of momentum with the learning rate.
        steps_per_epoch: batches in an epoch; None: what Keras says.
    """

    def __init__(
        self,
        initial_lr: float,
        multiplier: float | Callable[[float], float],
        start_epoch: int = 0,
        end_epoch: int | None = None,
        staircase: bool = True,
        momentum_correction: bool = True,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(
            _backend,
            initial_lr,
            multiplier,
            start_epoch,
            end_epoch,
            staircase,
            momentum_correction,
            steps_per_epoch,
        )


class LearningRateWarmupCallback(_impl.LearningRateWarmupCallbackImpl, keras.callbacks.Callback):
    """Raises the learning rate evenly from `initial_lr / size` to `initial_lr` (arXiv:1706.02677).

    lr(epoch) = initial_lr / size * (epoch * (size - 1) / warmup_epochs + 1), at each batch.

    Args:
        initial_lr: the learning rate after it.
        warmup_epochs: how many epochs it takes.
        momentum_correction: scale the velocity of momentum with the learning rate.
        steps_per_epoch: batches in an epoch; None: what Keras says.
        verbose: 1: print a line when it is done.
    """

    def __init__(
        self,
        initial_lr: float,
        warmup_epochs: int = 5,
        momentum_correction: bool = True,
        steps_per_epoch: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            _backend, initial_lr, warmup_epochs, momentum_correction, steps_per_epoch, verbose
        )


class BestModelCheckpoint(keras.callbacks.ModelCheckpoint):
    """Saves the model whenever the monitored value is the best yet.

    Args:
        monitor: the name in the logs.
        verbose: 1: print a line when it saves.
        mode: "min", "max" or "auto".
        save_freq: "epoch", or a number of batches.
        save_weights_only: save no more than the weights.
        filepath: where to; it may be set as an attribute before training begins.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        verbose: int = 0,
        mode: str = "auto",
        save_freq: Any = "epoch",
        save_weights_only: bool = False,
        filepath: Any = None,
    ) -> None:
        # Keras asks for a path at once, and looks at its ending.
        ending = ".weights.h5" if save_weights_only else ".keras"
        super().__init__(
            filepath=filepath or f"best{ending}",
            monitor=monitor,
            verbose=verbose,
            save_best_only=True,
            save_weights_only=save_weights_only,
            mode=mode,
            save_freq=save_freq,
        )
        self.filepath = filepath

    def on_train_begin(self, logs: Any = None) -> None:
        if self.filepath is None:
            raise ValueError("BestModelCheckpoint: set its filepath before training")
        super().on_train_begin(logs)


class CommitStateCallback(_elastic.CommitStateCallbackImpl, keras.callbacks.Callback):
    """Commits a state every `batches_per_commit` batches, and at the end of each epoch.

    Args:
        state: a `horovod.common.elastic.State`.
        batches_per_commit: batches from one commit to the next.
    """

    def __init__(self, state: Any, batches_per_commit: int = 1) -> None:
        super().__init__(_backend, state, batches_per_commit)


class UpdateBatchStateCallback(_elastic.UpdateBatchStateCallbackImpl, keras.callbacks.Callback):
    """Keeps `state.batch`, the number of the batch in its epoch.

    Args:
        state: a `horovod.common.elastic.State` with `batch`.
    """

    def __init__(self, state: Any) -> None:
        super().__init__(_backend, state)


class UpdateEpochStateCallback(_elastic.UpdateEpochStateCallbackImpl, keras.callbacks.Callback):
    """Keeps `state.epoch`, the number of epochs that are done.

    Args:
        state: a `horovod.common.elastic.State` with `epoch`.
    """

    def __init__(self, state: Any) -> None:
        super().__init__(_backend, state)
