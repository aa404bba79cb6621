"""Callbacks of elastic training, for Keras 3 and Keras 2 alike.

After horovod/_keras/elastic.py of Horovod 0.28.1, copyright 2020 Uber Technologies, Inc.,
Apache License 2.0.
"""

from __future__ import annotations

from typing import Any

from horovod._keras.callbacks import ForBothKeras

__all__ = [
    "CommitStateCallbackImpl",
    "UpdateBatchStateCallbackImpl",
    "UpdateEpochStateCallbackImpl",
]


class CommitStateCallbackImpl(ForBothKeras):
    """Commits the state every so many batches, and at the end of each epoch."""

    def __init__(self, backend: Any, state: Any, batches_per_commit: int) -> None:
        super().__init__()
        self.backend = backend
        self.state = state
        self.batches_per_commit = batches_per_commit
        self.batches_remaining = batches_per_commit

    def on_train_begin(self, logs: Any = None) -> None:
        # After each reset, so that ranks commit at the same batches.
        self.batches_remaining = self.batches_per_commit

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches_remaining -= 1
        if self.batches_remaining == 0:
            self.commit()
            self.batches_remaining = self.batches_per_commit

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.commit()

    def commit(self) -> None:
        self.state.commit()


class UpdateBatchStateCallbackImpl(ForBothKeras):
    """Keeps `state.batch`: the number of the batch in this epoch, 0 after it.

    After a reset the first epoch is shown as long as what is left of it. Keras itself takes its
    length from `steps_per_epoch` of `fit`: give `steps_per_epoch - state.batch` there.
    """

    def __init__(self, backend: Any, state: Any) -> None:
        super().__init__()
        self.backend = backend
        self.state = state
        self.steps_per_epoch: int | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self.steps_per_epoch = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.params.get("steps"):
            if self.steps_per_epoch is None:
                self.steps_per_epoch = self.params.get("steps")
            self.params["steps"] = self.steps_per_epoch - self.state.batch

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        self.state.batch = batch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.state.batch = 0


class UpdateEpochStateCallbackImpl(ForBothKeras):
    """Keeps `state.epoch`: the number of epochs done, over all resets."""

    def __init__(self, backend: Any, state: Any) -> None:
        super().__init__()
        self.backend = backend
        self.state = state
        self.initial_epoch = state.epoch  # Keras counts from 0 in each `fit`

    def on_train_begin(self, logs: Any = None) -> None:
        self.initial_epoch = self.state.epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        # One more than Keras's number: an epoch that has ended must not come again after a reset.
        self.state.epoch = self.initial_epoch + epoch + 1
