"""Keras training: two ranks of ours against TensorFlow's own strategy, one process, one rank.

The same network, optimizer and samples in all; jobs take turns within each round.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import Job, Jobs, ranks

from hvdcore.runtime.environment import prepare_environment
from hvdcore.runtime.world import World

RANK = Path(__file__).with_name("keras_rank.py")
SAMPLES = {"images": 32, "news": 64}
"""In a step over all ranks; what the trainers take by default."""
BURST_SECONDS = 3.0
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
LARGE = 4


@dataclass(frozen=True)
class Burst:
    """What a job is told: by how many a step's samples are divided, and how many times as many."""

    job: str
    ranks: int
    times: int = 1

    def samples(self, work: str) -> int:
        """Samples a step in each process."""
        return self.times * SAMPLES[work] // self.ranks


BURSTS = {
    "two_ranks": Burst("two_ranks", 2),
    "mwms": Burst("mwms", 2),
    "one_process": Burst("one_process", 1),
    "one_rank": Burst("one_rank", 2),
    "apart": Burst("apart", 2),
    "input": Burst("input", 2),
    "two_ranks_large": Burst("two_ranks", 2, LARGE),
    "one_rank_large": Burst("one_rank", 2, LARGE),
    "apart_large": Burst("apart", 2, LARGE),
}


def measure(work: str, rounds: int) -> dict[str, Any]:
    """Milliseconds a step of each job, and our ratios.

    Args:
        work: what is trained, a name of `keras_rank.WORKS`.
    """
    with Jobs(_jobs(work)) as jobs:
        steps = {
            name: _num_steps(jobs[burst.job], burst.samples(work)) for name, burst in BURSTS.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in BURSTS}
        names = list(BURSTS)
        for number in range(rounds):
            print(f"{work}: round {number + 1} of {rounds}", file=sys.stderr)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                burst = BURSTS[name]
                answers = jobs[burst.job].run(samples=burst.samples(work), steps=steps[name])
                seconds[name].append(max(a["seconds"] for a in answers) / steps[name])
    milliseconds = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    return {"ms_a_step": milliseconds, **ratios(seconds)}


def _jobs(work: str) -> list[Job]:
    plain = {
        name: value
        for name, value in os.environ.items()
        if name not in THREADS and not name.startswith("MALLOC_")
    }
    ours = dict(plain)
    prepare_environment(World(0, 1, 0, 1, "none"), ours)
    one_thread = {**ours, **dict.fromkeys(THREADS, "1")}
    # The peers get what their users have: no malloc settings, and TensorFlow's own threads; the
    # strategy's two workers share the cores as our ranks do.
    worker = {
        **plain,
        **dict.fromkeys(THREADS, "1"),
        "HVD_BENCH_WORKERS": json.dumps(_free_addresses()),
    }
    both = [sys.executable, str(RANK.with_name("keras_workers.py")), work]
    alone = [sys.executable, str(RANK), work]
    return [
        Job("two_ranks", ranks(RANK, 2, work, "ours"), 2, plain),
        Job("mwms", [*both, "mwms"], 2, worker),
        Job("one_process", [*alone, "keras"], 1, plain),
        Job("one_rank", [*alone, "ours"], 1, one_thread),
        Job("apart", [*both, "ours"], 2, one_thread),
        Job("input", [*alone, "input"], 1, one_thread),
    ]


def _free_addresses() -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses


def _num_steps(job: Job, share: int) -> int:
    """Steps of a burst, by a first burst that also warms up."""
    answers = job.run(samples=share, steps=4)
    return max(3, round(BURST_SECONDS / (max(a["seconds"] for a in answers) / 4)))


def ratios(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """How many times as fast: medians of the rounds' ratios.

    Args:
        seconds: a step of each burst, by round. `one_rank`, `apart` and `input` do half a step's
            samples in each process, and the large ones several times as many.
    """

    def times(other: str, ours: str = "two_ranks") -> float:
        pairs = zip(seconds[other], seconds[ours], strict=True)
        return statistics.median(theirs / mine for theirs, mine in pairs)

    return {
        "speed_against_mwms": times("mwms"),
        "speed_against_one_process": times("one_process"),
        # Twice the samples in the same time is 1.
        "weak_scaling_efficiency": times("one_rank"),
        "weak_scaling_efficiency_large": times("one_rank_large", "two_ranks_large"),
        # What two processes that exchange nothing would have: the cores share caches and memory.
        "weak_scaling_apart": times("one_rank", "apart"),
        "weak_scaling_apart_large": times("one_rank_large", "apart_large"),
        # Both on one thread, for the same samples.
        "input_against_model": times("one_rank", "input"),
    }
