"""Elastic training with Keras: ranks may come and go, and the model's state goes on."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from horovod._keras.callback_classes import (
    CommitStateCallback,
    UpdateBatchStateCallback,
    UpdateEpochStateCallback,
)
from horovod.tensorflow.elastic import TensorFlowKerasState, run

__all__ = [
    "CommitStateCallback",
    "KerasState",
    "UpdateBatchStateCallback",
    "UpdateEpochStateCallback",
    "run",
]


class KerasState(TensorFlowKerasState):
    """A Keras model, its optimizer and more, to be committed, restored and sent to new ranks.

    Args:
        model: built.
        optimizer: the model's own if None.
        kwargs: other values to keep, which become attributes.
    """

    def __init__(self, model: Any, optimizer: Any = None, **kwargs: Any) -> None:
        super().__init__(model, optimizer=optimizer, backend=tf.keras.backend, **kwargs)
