"""Bytes that this rank's host sends over its link for a step, straight to owners and in two stages.

The same training twice, `hierarchical` off and on; also the seconds of a step, for whoever asks.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import hvdcore.torch as hvt
from hvdcore.testing.ranks import save_result

LAYERS, WIDTH = 4, 256
STEPS = 5


def bytes_sent(interface: str = "eth0") -> int:
    """Since the host came up. /sys would show the interfaces of another network namespace."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == interface:
            return int(numbers.split()[8])
    raise ValueError(f"no {interface}")


def train(hierarchical: bool | None, dtype: torch.dtype, rank: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)))
    optimizer = hvt.ShardedOptimizer(
        model,
        lambda named: torch.optim.SGD([p for _, p in named], lr=0.01),
        elementwise=lambda name, parameter: True,
        wire_dtype=dtype,
        bucket_elements=WIDTH * WIDTH,
        hierarchical=hierarchical,
    )
    inputs = torch.ones(4, WIDTH) * (1 + rank)
    before = started = 0.0
    for step in range(STEPS + 2):  # the first ones settle the order of gradients
        if step == 2:
            hvt.barrier()
            before, started = bytes_sent(), time.perf_counter()
        optimizer.zero_grad(backward_passes=1)
        model(inputs).square().mean().backward()
        optimizer.step()
    hvt.barrier()
    return {
        "bytes": (bytes_sent() - before) / STEPS,
        "seconds": (time.perf_counter() - started) / STEPS,
        "hash": hvt.check_same_weights(model),
    }


def main() -> None:
    rank = hvt.init().rank
    dtype = getattr(torch, sys.argv[1])
    save_result(
        {
            "numel": LAYERS * WIDTH * WIDTH,
            "straight": train(False, dtype, rank),
            "in_stages": train(None, dtype, rank),
        }
    )
    hvt.shutdown()


main()
