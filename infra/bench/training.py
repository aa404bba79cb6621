"""Training speed: two ranks of ours against PyTorch DDP, one process, and one rank.

The same model, optimizer, clipping and random tokens in all; jobs take turns within each round.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs import Job, Jobs, ranks, torch_ranks

from hvdcore.runtime.environment import prepare_environment
from hvdcore.runtime.world import World

RANK = Path(__file__).with_name("training_rank.py")
SEQUENCES = (12, 96)
"""Of 64 tokens, in a step over all ranks."""
BURST_SECONDS = 1.5
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
MALLOC = "MALLOC_"


def measure(rounds: int) -> dict[str, Any]:
    """By sequences a step: milliseconds a step and page faults of each job, and our ratios."""
    with Jobs(_jobs()) as jobs:
        return {str(sequences): _measure(jobs, sequences, rounds) for sequences in SEQUENCES}


def _jobs() -> list[Job]:
    plain = {
        name: value
        for name, value in os.environ.items()
        if name not in THREAD_VARIABLES and not name.startswith(MALLOC)
    }
    ours = dict(plain)
    prepare_environment(World(0, 1, 0, 1, "none"), ours)
    one_thread = {**ours, **dict.fromkeys(THREAD_VARIABLES, "1")}
    malloc = {name: value for name, value in ours.items() if name.startswith(MALLOC)}
    alone = [sys.executable, str(RANK), "ours"]
    return [
        Job("two_ranks", ranks(RANK, 2, "ours"), 2, plain),
        Job("ddp", torch_ranks(RANK, 2, "ddp"), 2, plain),
        Job("ddp_our_environment", torch_ranks(RANK, 2, "ddp"), 2, {**plain, **malloc}),
        Job("one_process", alone, 1, ours),
        Job("one_rank", alone, 1, one_thread),
    ]


def _measure(jobs: Jobs, sequences: int, rounds: int) -> dict[str, Any]:
    shares = {"two_ranks": sequences // 2, "ddp": sequences // 2}
    shares |= {"ddp_our_environment": sequences // 2}
    shares |= {"one_process": sequences, "one_rank": sequences // 2}
    steps = {name: _num_steps(jobs[name], share) for name, share in shares.items()}
    seconds: dict[str, list[float]] = {name: [] for name in shares}
    faults: dict[str, list[float]] = {name: [] for name in shares}
    waits: list[float] = []
    for number in range(rounds):
        print(f"training {sequences} x 64: round {number + 1} of {rounds}", file=sys.stderr)
        names = list(shares)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            answers = jobs[name].run(sequences=shares[name], steps=steps[name])
            seconds[name].append(max(a["seconds"] for a in answers) / steps[name])
            faults[name].append(max(a["page_faults"] for a in answers) / steps[name])
            if name == "two_ranks":
                waits.append(min(a["waited"] for a in answers) / steps[name])
    return {
        "ms_a_step": {name: 1e3 * statistics.median(times) for name, times in seconds.items()},
        "page_faults_a_step": {name: statistics.median(f) for name, f in faults.items()},
        "communication_ms_a_step": 1e3 * statistics.median(waits),
        **ratios(seconds),
    }


def _num_steps(job: Job, share: int) -> int:
    """Steps of a burst, by a first burst that also warms up."""
    answers = job.run(sequences=share, steps=4)
    return max(3, round(BURST_SECONDS / (max(a["seconds"] for a in answers) / 4)))


def ratios(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """How many times as many tokens a second two ranks train: medians of the rounds' ratios."""

    def times(other: str) -> float:
        pairs = zip(seconds[other], seconds["two_ranks"], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)

    return {
        "speed_against_ddp": times("ddp"),
        "speed_against_ddp_our_environment": times("ddp_our_environment"),
        "speed_against_one_process": times("one_process"),
        # Twice the tokens in the same time is 1.
        "weak_scaling_efficiency": times("one_rank"),
    }
