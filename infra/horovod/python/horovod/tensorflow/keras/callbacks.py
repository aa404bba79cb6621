"""Callbacks for `fit`: equal starts, metrics over ranks, learning rates for large batches."""

# ruff: noqa: F401 (names for users)
from horovod._keras.callback_classes import (
    BestModelCheckpoint,
    BroadcastGlobalVariablesCallback,
    LearningRateScheduleCallback,
    LearningRateWarmupCallback,
    MetricAverageCallback,
)
