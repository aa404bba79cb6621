"""Keras training over a network: ours against MultiWorkerMirroredStrategy, hosts of one rank each.

`in_turn` is ours with the sums after the backward pass instead of during it, `ours_16_bit` with
gradients in bfloat16. Links and hosts are those of `network`; jobs take turns within each round.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from jobs import Job, Jobs
from keras_jobs import SAMPLES
from network import by_hand, environments, hosts_of, launched, shape

from hvdcore.testing.hosts import TestNetwork, missing_for_hosts

RANK = Path(__file__).with_name("keras_rank.py")
LINKS = ("unshaped", "1 Gbit/s", "200 Mbit/s")
SIZE = 2
BURST_SECONDS = 3.0
PORT = 29600


def measure(rounds: int) -> dict[str, Any]:
    """By trainer and link: milliseconds a step of each job; or why it cannot be measured."""
    if reason := missing_for_hosts():
        return {"skipped": reason}
    return {work: measure_work(work, rounds) for work in SAMPLES}


def measure_work(work: str, rounds: int) -> dict[str, Any]:
    """By link."""
    found = {}
    with hosts_of(SIZE) as network:
        made = _jobs(network, work)
        with Jobs(made) as jobs:
            for link in LINKS:
                shape(network, link)
                names = [job.name for job in made]
                found[link] = _measure(jobs, names, work, rounds, f"{work}, {link}")
    return found


def _jobs(network: TestNetwork, work: str) -> list[Job]:
    plain, malloc = environments(network)
    plain["TF_NUM_INTRAOP_THREADS"] = "1"
    made = [
        launched(network, plain, f"{kind}_{controller}", controller, work, kind, program=RANK)
        for controller in ("gloo", "mpi")
        for kind in ("ours", "ours_16_bit", "in_turn")
    ]
    addresses = [f"{host.address}:{PORT}" for host in network.hosts.values()]
    workers = {**plain, "HVD_BENCH_WORKERS": json.dumps(addresses)}
    apart = {**plain, **malloc}
    return [
        *made,
        by_hand(network, workers, "mwms", work, "mwms", 0, program=RANK),
        by_hand(network, apart, "apart", work, "ours", 0, program=RANK),
    ]


def _measure(jobs: Jobs, names: list[str], work: str, rounds: int, title: str) -> dict[str, Any]:
    share = SAMPLES[work] // SIZE
    steps = {name: _num_steps(jobs[name], share) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        print(f"keras network {title}: round {number + 1} of {rounds}", file=sys.stderr)
        for index in range(len(names)):
            name = names[(index + number) % len(names)]
            answers = jobs[name].run(samples=share, steps=steps[name])
            seconds[name].append(max(a["seconds"] for a in answers) / steps[name])
    return {
        "ms_a_step": {name: 1e3 * statistics.median(times) for name, times in seconds.items()},
        "against_mwms": {
            name: statistics.median(
                ours / theirs for ours, theirs in zip(times, seconds["mwms"], strict=True)
            )
            for name, times in seconds.items()
        },
    }


def _num_steps(job: Job, share: int) -> int:
    answers = job.run(samples=share, steps=2)
    return max(3, round(BURST_SECONDS / (max(a["seconds"] for a in answers) / 2)))
