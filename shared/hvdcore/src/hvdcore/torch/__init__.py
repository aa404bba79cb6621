"""Horovod for PyTorch: start, small collectives, agreement of ranks, the sharded optimizer.

The only importer of `horovod.torch`.
"""

from __future__ import annotations

from hvdcore.torch.agreement import check_same_weights, weights_sha256
from hvdcore.torch.collectives import (
    allreduce_sum,
    any_rank,
    broadcast_object,
    broadcast_parameters,
    communication_seconds,
)
from hvdcore.torch.cost import elementwise_cost, newton_schulz_cost
from hvdcore.torch.engine import init, shutdown
from hvdcore.torch.gather import gather_objects
from hvdcore.torch.optimizer_state import SavedState
from hvdcore.torch.sharded import ShardedOptimizer, StepOutcome

__all__ = [
    "SavedState",
    "ShardedOptimizer",
    "StepOutcome",
    "allreduce_sum",
    "any_rank",
    "broadcast_object",
    "broadcast_parameters",
    "check_same_weights",
    "communication_seconds",
    "elementwise_cost",
    "gather_objects",
    "init",
    "newton_schulz_cost",
    "shutdown",
    "weights_sha256",
]
