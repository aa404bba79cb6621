"""Every small collective once, on values that name their rank."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch

import hvdcore.torch as hvt
from hvdcore.runtime.world import World
from hvdcore.testing.ranks import RESULT_DIR, save_result
from hvdcore.torch import hardware
from hvdcore.torch.collectives import gather_bytes


def spoiled_hash(rank: int) -> str:
    model = torch.nn.Linear(2, 2)
    torch.nn.init.ones_(model.weight)
    torch.nn.init.zeros_(model.bias)
    if rank == 1:
        model.weight.data[0, 0] += 1e-7
    try:
        hvt.check_same_weights(model)
    except RuntimeError as error:
        return str(error)
    return "same"


def peak_of_unequal_ranks(rank: int) -> float:
    """Rank r measures r + 1 FLOP/s."""
    hardware.measured_flops = lambda device, dtype: rank + 1.0
    return hvt.peak_flops(torch.device("cpu"), torch.float32).per_second


def seen_after_barrier(world: World) -> bool:
    """Whether a rank finds, after the barrier, what the last one did late before it."""
    written = Path(os.environ[RESULT_DIR], "written-late")
    if world.rank == world.size - 1:
        time.sleep(0.5)
        written.touch()
    hvt.barrier()
    return written.exists()


def main() -> None:
    world = hvt.init()
    rank = world.rank
    model = torch.nn.BatchNorm1d(3)
    torch.nn.init.constant_(model.weight, float(rank + 5))
    model.running_mean.fill_(float(rank + 7))
    model.num_batches_tracked.fill_(rank + 9)
    hvt.broadcast_parameters(model, root_rank=world.size - 1)
    original = torch.tensor([rank + 1.0])
    hvt.allreduce_sum(original)
    gathered = gather_bytes(torch.full((3 * rank,), rank, dtype=torch.uint8), "test", piece_bytes=4)
    save_result(
        {
            "world": [rank, world.size, world.local_rank, world.local_size, world.controller],
            "again": hvt.init() == world,
            "floats": hvt.allreduce_sum(torch.tensor([rank + 1.0, 10.0**rank])).tolist(),
            "doubles": hvt.allreduce_sum(np.array([[rank + 1e-12]])).tolist(),
            "integers": hvt.allreduce_sum(np.array([2**40 + rank])).tolist(),
            "scalar": hvt.allreduce_sum(torch.tensor(2.0)).tolist(),
            "kept": original.tolist(),
            "broadcast": [
                model.weight.tolist()[0],
                model.running_mean.tolist()[0],
                int(model.num_batches_tracked),
            ],
            "object": hvt.broadcast_object(
                {"from": rank, "text": "gr\u00fc\u00df"}, world.size - 1
            ),
            "any": [
                hvt.any_rank(False),
                hvt.any_rank(rank == world.size - 1),
                hvt.any_rank(True),
            ],
            "barrier": seen_after_barrier(world),
            "gathered": [part.tolist() for part in gathered],
            "spoiled": spoiled_hash(rank),
            "peak": peak_of_unequal_ranks(rank),
        }
    )
    hvt.shutdown()


main()
