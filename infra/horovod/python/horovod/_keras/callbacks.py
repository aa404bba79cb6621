"""What the callbacks do, for Keras 3 and Keras 2 alike.

After horovod/_keras/callbacks.py of Horovod 0.28.1, copyright 2018 Uber Technologies, Inc.,
Apache License 2.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf
from horovod.tensorflow.gradients import key_of
from horovod.tensorflow.util import native_variable, optimizer_variables

__all__ = [
    "BroadcastGlobalVariablesCallbackImpl",
    "LearningRateScheduleCallbackImpl",
    "LearningRateWarmupCallbackImpl",
    "MetricAverageCallbackImpl",
]


class ForBothKeras:
    """What Keras 2's list of callbacks asks of each, which Keras 3's class of callbacks lacks."""

    _supports_tf_logs = False

    def _implements_train_batch_hooks(self) -> bool:
        return True

    def _implements_test_batch_hooks(self) -> bool:
        return False

    def _implements_predict_batch_hooks(self) -> bool:
        return False


class BroadcastGlobalVariablesCallbackImpl(ForBothKeras):
    """Gives every rank the root's weights and optimizer state before training.

    What exists is sent when training begins; what Keras makes only in the first batch, after it.
    """

    def __init__(
        self, backend: Any, root_rank: int, device: str = "", local_variables: Any = None
    ) -> None:
        super().__init__()
        self.backend = backend
        self.root_rank = root_rank
        self.device = device
        self.broadcast_done = False
        self._local_vars: set[Any] = set()
        for variable in _variables(local_variables):
            self.register_local_var(variable)

    def register_local_var(self, var: Any) -> None:
        """Leave a variable as it is on each rank."""
        self._local_vars.add(key_of(var))

    def on_train_begin(self, logs: Any = None) -> None:
        if self.broadcast_done or not hvd._executing_eagerly():
            return
        if getattr(self.model, "built", False):
            self._broadcast(self.model.weights)

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.broadcast_done:
            return
        if hvd._executing_eagerly():
            self._broadcast(self.model.weights)
            self._broadcast(optimizer_variables(self.model.optimizer))
        else:
            with tf.device(self.device):
                send = hvd.broadcast_global_variables(self.root_rank)
            self.backend.get_session().run(send)
        self.broadcast_done = True

    def _broadcast(self, variables: Iterable[Any]) -> None:
        shared = [v for v in variables if key_of(v) not in self._local_vars]
        with tf.device(self.device):
            hvd.broadcast_variables(shared, root_rank=self.root_rank)


def _variables(value: Any) -> list[Any]:
    many = value if isinstance(value, (list, tuple, set)) else [value]
    many = [] if value is None else list(many)
    if not all(isinstance(native_variable(v), tf.Variable) for v in many):
        raise ValueError("All local variables must be of tf.Variable type.")
    return many


class MetricAverageCallbackImpl(ForBothKeras):
    """Averages over ranks what the logs hold at the end of an epoch."""

    def __init__(self, backend: Any, device: str = "") -> None:
        super().__init__()
        self.backend = backend
        self.device = device
        self._send: Any = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._average_metrics_in_place(logs)

    def _average_metrics_in_place(self, logs: Any) -> None:
        names = sorted(logs or {})  # ranks may have met their metrics in different order
        if not names:
            return
        values = [np.asarray(logs[name], dtype=np.float64) for name in names]
        mean = self._mean(np.concatenate([v.ravel() for v in values]))
        ends = np.cumsum([v.size for v in values])[:-1]
        for name, value, part in zip(names, values, np.split(mean, ends), strict=True):
            logs[name] = float(part[0]) if value.ndim == 0 else part.reshape(value.shape)

    def _mean(self, values: np.ndarray) -> np.ndarray:
        if hvd._executing_eagerly():
            with tf.device(self.device):
                return hvd.allreduce(tf.constant(values), name="metric_average").numpy()
        if self._send is None:
            place = tf.compat.v1.placeholder(tf.float64, [None], name="metric_average")
            self._send = (place, hvd.allreduce(place, device_dense=self.device))
        place, mean = self._send
        return self.backend.get_session().run(mean, feed_dict={place: values})


class LearningRateScheduleCallbackImpl(ForBothKeras):
    """Multiplies the initial learning rate from epoch to epoch, or from batch to batch."""

    def __init__(
        self,
        backend: Any,
        initial_lr: float,
        multiplier: float | Callable[[float], float],
        start_epoch: int = 0,
        end_epoch: int | None = None,
        staircase: bool = True,
        momentum_correction: bool = True,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__()
        if initial_lr is None:
            raise ValueError("Parameter `initial_lr` is required")
        self.backend = backend
        self.initial_lr = initial_lr
        self.start_epoch = start_epoch
        self.end_epoch = end_epoch
        self.staircase = staircase
        self.momentum_correction = momentum_correction
        self.steps_per_epoch = steps_per_epoch
        self.current_epoch = 0
        self._momentum: Any = None
        if callable(multiplier):
            self.multiplier = multiplier
        else:
            self.multiplier = lambda epoch: multiplier ** (epoch - start_epoch)

    def on_train_begin(self, logs: Any = None) -> None:
        if not self.staircase and not self.steps_per_epoch:
            self.steps_per_epoch = self._steps_per_epoch()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.current_epoch = epoch

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        epoch = self.current_epoch
        if epoch < self.start_epoch or (self.end_epoch is not None and epoch >= self.end_epoch):
            return
        if not self.staircase:
            self._adjust_learning_rate(epoch + float(batch) / self.steps_per_epoch)
        elif batch == 0:
            self._adjust_learning_rate(epoch)

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._momentum is not None:
            self.model.optimizer.momentum = self._momentum
            self._momentum = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            logs["lr"] = learning_rate(self.model.optimizer)

    def _steps_per_epoch(self) -> int:
        if self.params.get("steps"):
            return int(self.params["steps"])
        if self.params.get("samples") and self.params.get("batch_size"):
            return int(self.params["samples"] // self.params["batch_size"])
        raise ValueError(
            "Could not autodetect the number of steps per epoch. Please specify the "
            f"steps_per_epoch parameter to the {type(self).__name__}()."
        )

    def _adjust_learning_rate(self, epoch: float) -> None:
        optimizer = self.model.optimizer
        old, new = learning_rate(optimizer), self.initial_lr * self.multiplier(epoch)
        optimizer.learning_rate = new
        if self.momentum_correction and hasattr(_inner(optimizer), "momentum") and old != 0:
            self._correct_momentum(optimizer, new / old)

    def _correct_momentum(self, optimizer: Any, ratio: float) -> None:
        """Scale for the next step what momentum adds, as arXiv:1706.02677 (2.2.2) has it.

        The velocity holds the learning rate it was made with. It is scaled itself where it can be
        reached; only Keras 2's legacy optimizers have a momentum that can be changed for a step.
        """
        inner = _inner(optimizer)
        velocities = getattr(inner, "momentums", None) or getattr(inner, "_momentums", None)
        if velocities:
            for velocity in velocities:
                velocity.assign(velocity * ratio)
        elif hasattr(inner, "_hyper"):
            self._momentum = float(tf.keras.backend.get_value(inner.momentum))
            inner.momentum = self._momentum * ratio


class LearningRateWarmupCallbackImpl(LearningRateScheduleCallbackImpl):
    """Raises the learning rate from initial_lr / size to initial_lr in the first epochs."""

    def __init__(
        self,
        backend: Any,
        initial_lr: float,
        warmup_epochs: int = 5,
        momentum_correction: bool = True,
        steps_per_epoch: int | None = None,
        verbose: int = 0,
    ) -> None:
        def multiplier(epoch: float) -> float:
            # Round numbers at the end of each epoch look better in a diagram.
            epoch += 1.0 / self.steps_per_epoch
            return 1.0 / hvd.size() * (epoch * (hvd.size() - 1) / warmup_epochs + 1)

        super().__init__(
            backend,
            initial_lr,
            multiplier,
            start_epoch=0,
            end_epoch=warmup_epochs,
            staircase=False,
            momentum_correction=momentum_correction,
            steps_per_epoch=steps_per_epoch,
        )
        self.verbose = verbose

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, logs)
        if epoch == self.end_epoch - 1 and self.verbose > 0 and hvd.rank() == 0:
            rate = learning_rate(self.model.optimizer)
            print(f"\nEpoch {epoch + 1}: finished gradual learning rate warmup to {rate:g}.")


def learning_rate(optimizer: Any) -> float:
    """An optimizer's learning rate now.

    Raises:
        ValueError: it comes from a schedule of Keras's, which a callback cannot change.
    """
    rate = optimizer.learning_rate
    plain = getattr(_inner(optimizer), "_learning_rate", rate)
    if callable(plain) and not isinstance(native_variable(plain), tf.Variable):
        raise ValueError(
            "optimizer: its learning rate is a schedule; give a number where a callback of "
            "Horovod's sets the learning rate"
        )
    value = native_variable(rate)
    if hasattr(value, "numpy") and tf.executing_eagerly():
        return float(value.numpy())
    return float(tf.keras.backend.get_value(rate))


def _inner(optimizer: Any) -> Any:
    """The optimizer that updates, inside of one that scales the loss."""
    return getattr(optimizer, "inner_optimizer", optimizer)
