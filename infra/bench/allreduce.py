"""Sum over two ranks of one thread: Horovod's allreduce against PyTorch's `all_reduce` over Gloo.

Both run in the same two processes, in turn, each call after a barrier, on float32 tensors that stay
in place, and the ratio is that of the medians.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from jobs import Job, Jobs, ranks, serve

SIZES = {"4 KB": 4 << 10, "256 KB": 256 << 10, "4 MB": 4 << 20, "32 MB": 32 << 20}
SIZES["128 MB"] = 128 << 20
PORT = "HVD_BENCH_PORT"


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """By size: `ours_ms`, `ddp_ms` and `ratio`, medians over all calls of all rounds."""
    env = {**os.environ, PORT: str(_free_port())}
    found: dict[str, dict[str, list[float]]] = {}
    with Jobs([Job("allreduce", ranks(Path(__file__), 2), 2, env)]) as jobs:
        for number in range(rounds):
            print(f"allreduce: round {number + 1} of {rounds}", file=sys.stderr)
            for name, num_bytes in SIZES.items():
                calls = max(3, min(60, (64 << 20) // num_bytes))
                answers = jobs["allreduce"].run(num_bytes=num_bytes, calls=calls)
                times = found.setdefault(name, {"ours": [], "ddp": []})
                for kind, seen in times.items():
                    # A collective is as slow as its slowest rank.
                    seen += [max(pair) for pair in zip(*(a[kind] for a in answers), strict=True)]
    return {name: summary(**times) for name, times in found.items()}


def summary(ours: list[float], ddp: list[float]) -> dict[str, float]:
    """Medians in milliseconds of times in seconds, and their ratio."""
    ours_ms, ddp_ms = 1e3 * statistics.median(ours), 1e3 * statistics.median(ddp)
    return {"ours_ms": ours_ms, "ddp_ms": ddp_ms, "ratio": ours_ms / ddp_ms}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def main() -> None:
    """A rank."""
    import torch
    import torch.distributed as dist

    import hvdcore.torch
    from hvdcore.torch.collectives import sum_in_place

    world = hvdcore.torch.init()
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{os.environ[PORT]}",
        rank=world.rank,
        world_size=world.size,
    )

    def burst(num_bytes: int, calls: int) -> dict[str, Any]:
        tensor = torch.ones(num_bytes // 4)
        kinds = {
            "ours": lambda: sum_in_place(tensor, f"bench.{num_bytes}"),
            "ddp": lambda: dist.all_reduce(tensor),
        }
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for call in range(-2, calls):
            for kind in kinds if call % 2 else reversed(kinds):
                tensor.fill_(1.0)
                dist.barrier()
                started = time.perf_counter()
                kinds[kind]()
                seconds = time.perf_counter() - started
                assert tensor[-1] == world.size
                if call >= 0:
                    times[kind].append(seconds)
        return dict(times)

    serve(burst)
    dist.destroy_process_group()
    hvdcore.torch.shutdown()


if __name__ == "__main__":
    sys.exit(main())
