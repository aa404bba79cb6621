"""Owns the callbacks for `fit` that make ranks equal: start, metrics, learning rate.

Order in the list: `BroadcastModel`, `ReduceMetrics`, then those that read metrics (early stopping,
checkpoints), and `StopTogether` last. Every rank passes the same callbacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from hvdcore.keras.evaluation import reduced_metrics
from hvdcore.keras.optimizer import needed_distribution
from hvdcore.keras.weights import average_statistics, broadcast_model

__all__ = ["BroadcastModel", "LearningRate", "ReduceMetrics"]


class BroadcastModel(keras.callbacks.Callback):  # type: ignore[misc]
    """Start every rank from the root's weights and optimizer, and keep statistics together.

    Moving statistics (batch normalization) are averaged over ranks before each validation and at
    the end of each epoch.
    """

    def __init__(self, root_rank: int = 0) -> None:
        super().__init__()
        self.root_rank = root_rank

    def on_train_begin(self, logs: Any = None) -> None:
        needed_distribution(self.model)
        broadcast_model(self.model, self.root_rank)

    def on_test_begin(self, logs: Any = None) -> None:
        average_statistics(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        average_statistics(self.model)


class ReduceMetrics(keras.callbacks.Callback):  # type: ignore[misc]
    """Put the metrics over all ranks into the logs that later callbacks and the history see.

    Horovod's own callback averages per-rank averages, and fails on Keras 3.
    """

    def __init__(self) -> None:
        super().__init__()
        self._in_fit = False
        self._train: dict[str, float] | None = None
        self._val: dict[str, float] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        self._in_fit = True

    def on_train_end(self, logs: Any = None) -> None:
        self._in_fit = False

    def on_test_begin(self, logs: Any = None) -> None:
        if self._in_fit:  # validation is about to reset the training metrics
            self._train = reduced_metrics(self.model)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        reduced = reduced_metrics(self.model)
        if self._in_fit:
            self._val = {f"val_{name}": value for name, value in reduced.items()}
        _replace(logs, reduced)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        train = reduced_metrics(self.model) if self._train is None else self._train
        _replace(logs, {**train, **self._val})
        self._train, self._val = None, {}


class LearningRate(keras.callbacks.Callback):  # type: ignore[misc]
    """Set the learning rate by step, for example from `hvdcore.metrics.schedule.learning_rate_at`.

    The step is the optimizer's own count of updates, so that it survives a resume. A callback,
    not a Keras schedule: a saved model then needs no class of ours to load.

    Args:
        at_step: the rate of the update that starts after so many updates.
    """

    def __init__(self, at_step: Callable[[int], float]) -> None:
        super().__init__()
        self.at_step = at_step

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        optimizer.learning_rate = self.at_step(int(optimizer.iterations))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def _replace(logs: dict[str, Any] | None, values: dict[str, float]) -> None:
    if logs is not None:
        logs.update({name: value for name, value in values.items() if name in logs})
