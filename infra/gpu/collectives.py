"""Run by each rank: every collective and type against values known for any number of ranks."""

from __future__ import annotations

import json
import os
import sys
import time

import horovod.torch as hvd
import torch

TYPES = [
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
]  # fmt: skip
checked = 0


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Raises unless both are equal, on the device of the input."""
    global checked
    if not torch.equal(found.cpu(), wanted) or found.device != DEVICE:
        raise SystemExit(f"wrong: {found} instead of {wanted} on {DEVICE}")
    checked += 1


def operations(dtype: torch.dtype) -> None:
    n, rank = hvd.size(), hvd.rank()
    total = n * (n + 1) // 2
    mine = torch.full((4,), rank + 1, dtype=dtype, device=DEVICE)
    same(hvd.allreduce(mine, op=hvd.Sum), torch.full((4,), total, dtype=dtype))
    same(hvd.allreduce(mine, op=hvd.Max), torch.full((4,), n, dtype=dtype))
    same(hvd.allreduce(mine, op=hvd.Min), torch.full((4,), 1, dtype=dtype))
    ranks = torch.arange(1, n + 1).to(dtype)
    same(hvd.allgather(mine[:1]), ranks)
    rows = torch.arange(rank + 1, device=DEVICE).to(dtype)
    same(hvd.allgather(rows), torch.cat([torch.arange(r + 1) for r in range(n)]).to(dtype))
    same(hvd.broadcast(mine, n - 1), torch.full((4,), n, dtype=dtype))
    sent = torch.full((n,), rank + 1, dtype=dtype, device=DEVICE)
    same(hvd.alltoall(sent), ranks)
    scattered = hvd.reducescatter(sent, op=hvd.Sum)
    same(scattered, torch.tensor([total], dtype=dtype))
    for got in hvd.grouped_allreduce([mine, mine.clone()], op=hvd.Sum):
        same(got, torch.full((4,), total, dtype=dtype))


def average_and_factors() -> None:
    mine = torch.full((4,), hvd.rank() + 1.0, device=DEVICE)
    same(hvd.allreduce(mine), torch.full((4,), (hvd.size() + 1) / 2))
    wanted = hvd.size() * (hvd.size() + 1) / 4
    scaled = hvd.allreduce(mine, op=hvd.Sum, prescale_factor=0.5)
    same(scaled, torch.full((4,), wanted))


def gigabytes_per_second() -> float:
    """Of an allreduce of 256 MB (8 MB on the CPU) in float32."""
    tensor = torch.ones((64 if DEVICE.type == "cuda" else 2) * 1024 * 1024, device=DEVICE)
    for repetition in range(6):
        if repetition == 1:
            synchronize()
            started = time.perf_counter()
        hvd.allreduce_(tensor, op=hvd.Max, name="speed")
    synchronize()
    return round(5 * tensor.nbytes / (time.perf_counter() - started) / 1e9, 3)


def synchronize() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


hvd.init()
DEVICE = torch.device("cpu")
if sys.argv[1] == "cuda":
    DEVICE = torch.device("cuda", hvd.local_rank() % torch.cuda.device_count())
    torch.cuda.set_device(DEVICE)
for each in TYPES:
    operations(each)
average_and_factors()
speed = gigabytes_per_second()
if hvd.rank() == 0:
    figures = {
        "ranks": hvd.size(),
        "values_checked": checked,
        "gigabytes_per_second": speed,
        "nccl": hvd.nccl_built(),
        "through_host": os.environ.get("HOROVOD_GPU_TRANSPORT") == "host" or not hvd.nccl_built(),
    }
    print(json.dumps(figures), flush=True)
hvd.shutdown()
