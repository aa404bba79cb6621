"""Callbacks for `fit` on several ranks: equal start, metrics, learning rate, an agreed stop.

Order in the list: `BroadcastModel`, `ReduceMetrics`, then those that read metrics (early stopping,
checkpoints), and `StopTogether` last. Every rank passes the same callbacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.keras.collectives import allreduce_sum, any_rank, engine
from hvdcore.keras.optimizer import needed_distribution
from hvdcore.keras.weights import average_statistics, broadcast_model
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.signals import StopFlag

__all__ = [
    "BroadcastModel",
    "Heartbeat",
    "LearningRate",
    "ReduceMetrics",
    "StopTogether",
    "evaluate",
    "reduced_metrics",
]


class StopTogether(keras.callbacks.Callback):  # type: ignore[misc]
    """All ranks stop at the same step, whichever of them was asked to. Last in the list.

    Reasons to stop: a signal (`flag`), or another callback that set `model.stop_training`, on any
    rank. The wish travels with the gradients of the next update; at the end of an epoch, where no
    update follows, with a collective of its own.

    Attributes:
        stopped: training ended before its last epoch.
        by_signal: a signal was the reason, on some rank; leave with `flag.exit_code`.

    Args:
        flag: the process's signal flag, or None.
    """

    def __init__(self, flag: StopFlag | None = None) -> None:
        super().__init__()
        self.flag = flag
        self.stopped = False
        self.by_signal = False
        self._wish = False

    def on_train_begin(self, logs: Any = None) -> None:
        self.stopped = self.by_signal = self._wish = False
        needed_distribution(self.model).reduction.forget_stop()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if not self._wish and self._signaled():
            self._tell()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.model.stop_training and not self._wish:
            self._tell()
        self.model.stop_training = self.stopped = needed_distribution(
            self.model
        ).reduction.stop_agreed()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        wish = bool(self._wish or self.model.stop_training or self._signaled())
        self.model.stop_training = self.stopped = any_rank(wish)

    def on_train_end(self, logs: Any = None) -> None:
        self.by_signal = any_rank(self._signaled())

    def _signaled(self) -> bool:
        return self.flag is not None and self.flag.requested

    def _tell(self) -> None:
        self._wish = True
        needed_distribution(self.model).reduction.wish_stop()


class Heartbeat(keras.callbacks.Callback):  # type: ignore[misc]
    """Tell the watchdog what this rank is doing. The step itself reports waiting for others."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        beat("compute", int(self.model.optimizer.iterations))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        beat("data")

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        beat("evaluate")


def evaluate(model: Any, dataset: Any) -> dict[str, float]:
    """Loss and metrics over all ranks' shards together, each sample counted once.

    Every rank must call, each with its own shard; shards may differ in size and be empty.

    Args:
        model: a compiled, built `keras.Model`, its weights equal on all ranks.
        dataset: a batched, finite `tf.data.Dataset` of (x, y) or (x, y, sample_weight).

    Returns:
        Metric names to values, equal on every rank.
    """
    if _is_empty(dataset):
        # Metrics make their variables at the first batch, which this rank does not have.
        model.test_on_batch(*tf.nest.map_structure(_one_of_zeros, dataset.element_spec))
        model.reset_metrics()
    else:
        model.evaluate(dataset, verbose=0)
    return reduced_metrics(model)


def reduced_metrics(model: Any) -> dict[str, float]:
    """The model's metrics as if one process had seen what all ranks saw since the last reset.

    Each rank's own state is left as it was. Every rank must call.

    Keras keeps sums and counts (a mean's total and count, a confusion matrix), which may be
    added up; averaging the ranks' results would be wrong whenever shards differ in size. A
    metric of your own must keep to that: only sums in its variables.
    """
    variables = [v for metric in model.metrics for v in metric.variables]
    local = [v.numpy() for v in variables]
    if engine().size() > 1 and variables:
        _assign(variables, _sum_over_ranks(local))
    try:
        results = model.get_metrics_result()
        return {name: float(value) for name, value in _flat(results)}
    finally:
        _assign(variables, local)


def _sum_over_ranks(states: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    flat = np.concatenate([s.astype(np.float64).ravel() for s in states])
    parts = np.split(allreduce_sum(flat), np.cumsum([s.size for s in states])[:-1])
    return [p.reshape(s.shape).astype(s.dtype) for p, s in zip(parts, states, strict=True)]


def _assign(variables: list[Any], values: list[npt.NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _flat(results: dict[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in results.items():
        pairs += _flat(value) if isinstance(value, dict) else [(name, value)]
    return pairs


def _is_empty(dataset: Any) -> bool:
    cardinality = int(dataset.cardinality())
    if cardinality >= 0:
        return cardinality == 0
    return next(iter(dataset), None) is None


def _one_of_zeros(spec: Any) -> Any:
    return tf.zeros([1, *spec.shape[1:]], spec.dtype)


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
        at_step: update number to learning rate.
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
