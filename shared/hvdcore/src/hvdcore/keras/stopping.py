"""Owns the callbacks that keep ranks in step: an agreed stop, and signs of life."""

from __future__ import annotations

from typing import Any

import keras

from hvdcore.keras.collectives import any_rank
from hvdcore.keras.optimizer import needed_distribution
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.signals import StopFlag

__all__ = ["Heartbeat", "StopTogether"]


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
        if not self._wish and self._signalled():
            self._tell()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.model.stop_training and not self._wish:
            self._tell()
        self.model.stop_training = self.stopped = needed_distribution(
            self.model
        ).reduction.stop_agreed()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        wish = bool(self._wish or self.model.stop_training or self._signalled())
        self.model.stop_training = self.stopped = any_rank(wish)

    def on_train_end(self, logs: Any = None) -> None:
        self.by_signal = any_rank(self._signalled())

    def _signalled(self) -> bool:
        return self.flag is not None and self.flag.requested

    def _tell(self) -> None:
        self._wish = True
        needed_distribution(self.model).reduction.wish_stop()


class Heartbeat(keras.callbacks.Callback):  # type: ignore[misc]
    """Tell the watchdog what this rank is doing. Waiting for other ranks is told by the step."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        beat("compute", int(self.model.optimizer.iterations))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        beat("data")

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        beat("evaluate")
