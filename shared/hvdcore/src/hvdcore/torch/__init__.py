"""Horovod for PyTorch: start, small collectives, agreement of ranks, the sharded optimizer.

The only importer of `horovod.torch`.
"""

from __future__ import annotations

from hvdcore.torch.collectives import (
    allreduce_sum,
    any_rank,
    barrier,
    broadcast_object,
    broadcast_parameters,
    check_same_weights,
    communication_seconds,
    gather_objects,
    init,
    shutdown,
    weights_sha256,
)
from hvdcore.torch.hardware import (
    PeakFlops,
    elementwise_cost,
    newton_schulz_cost,
    peak_flops,
    peak_memory_bytes,
    pick_device,
)
from hvdcore.torch.host_copy import copy_to_host
from hvdcore.torch.optimizer_state import SavedState
from hvdcore.torch.profile import StepClock, StepProfile
from hvdcore.torch.sharded import ShardedOptimizer, StepOutcome

__all__ = [
    "PeakFlops",
    "SavedState",
    "ShardedOptimizer",
    "StepClock",
    "StepOutcome",
    "StepProfile",
    "allreduce_sum",
    "any_rank",
    "barrier",
    "broadcast_object",
    "broadcast_parameters",
    "check_same_weights",
    "communication_seconds",
    "copy_to_host",
    "elementwise_cost",
    "gather_objects",
    "init",
    "newton_schulz_cost",
    "peak_flops",
    "peak_memory_bytes",
    "pick_device",
    "shutdown",
    "weights_sha256",
]
