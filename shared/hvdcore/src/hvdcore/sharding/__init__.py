"""Owns which rank sees which sample, and when: pure functions on numpy, no framework.

The global order of an epoch comes from (seed, epoch) alone. The number of ranks only decides how
each global batch of that order is cut, so runs of any size train on the same batches.
"""

from hvdcore.sharding.order import Indices, epoch_order, seeded_order
from hvdcore.sharding.position import Position, TrainStep, train_steps
from hvdcore.sharding.shards import (
    Tail,
    check_shardable,
    eval_range,
    num_steps,
    tail_size,
    train_indices,
)

__all__ = [
    "Indices",
    "Position",
    "Tail",
    "TrainStep",
    "check_shardable",
    "epoch_order",
    "eval_range",
    "num_steps",
    "seeded_order",
    "tail_size",
    "train_indices",
    "train_steps",
]
