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
from hvdcore.torch.hardware import PeakFlops, peak_flops, peak_memory_bytes
from hvdcore.torch.optimizer_state import SavedState
from hvdcore.torch.profile import StepProfile
from hvdcore.torch.sharded import ShardedOptimizer, StepOutcome
from hvdcore.torch.step_clock import StepClock

__all__ = [
    "PeakFlops",
    "SavedState",
    "ShardedOptimizer",
    "StepClock",
    "StepOutcome",
    "StepProfile",
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
    "peak_flops",
    "peak_memory_bytes",
    "shutdown",
    "weights_sha256",
]
