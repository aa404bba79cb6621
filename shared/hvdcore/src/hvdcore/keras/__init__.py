"""Keras 3 on Horovod: the only part of hvdcore that imports TensorFlow, Keras and their Horovod.

Example:
    world = hvdcore.keras.init()
    model.compile(optimizer="adam", loss="mse")
    hvdcore.keras.distribute(model)
    model.fit(my_shard, callbacks=[BroadcastModel(), ReduceMetrics(), StopTogether()])
    hvdcore.keras.check_same_weights(model)
"""

from __future__ import annotations

from hvdcore.keras.loading import choose_tensorflow, without_chatter

with without_chatter():
    choose_tensorflow()
    import tensorflow as _tf

    _tf.config.list_physical_devices("GPU")  # a CUDA library without a driver complains once

from hvdcore.keras.callbacks import (
    BroadcastModel,
    Heartbeat,
    LearningRate,
    ReduceMetrics,
    StopTogether,
    evaluate,
)
from hvdcore.keras.checkpoints import FitCheckpoints
from hvdcore.keras.collectives import (
    allgather_rows,
    allreduce_sum,
    any_rank,
    barrier,
    broadcast_object,
)
from hvdcore.keras.optimizer import DistributedOptimizer, distribute
from hvdcore.keras.reduction import GradientReduction
from hvdcore.keras.shard import TrainShard
from hvdcore.keras.startup import init
from hvdcore.keras.weights import (
    average_statistics,
    broadcast_model,
    check_same_weights,
    weights_sha256,
)

__all__ = [
    "BroadcastModel",
    "DistributedOptimizer",
    "FitCheckpoints",
    "GradientReduction",
    "Heartbeat",
    "LearningRate",
    "ReduceMetrics",
    "StopTogether",
    "TrainShard",
    "allgather_rows",
    "allreduce_sum",
    "any_rank",
    "average_statistics",
    "barrier",
    "broadcast_model",
    "broadcast_object",
    "check_same_weights",
    "distribute",
    "evaluate",
    "init",
    "weights_sha256",
]
