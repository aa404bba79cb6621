"""Hosts of two ranks each: gradients added up within a host first, against straight to the owners.

The model is `paced`, so four ranks need no four cores. Bytes are what a host's cable has counted.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs import Job, Jobs
from network import PORT, by_hand, environments, hosts_of, launched, shape

from hvdcore.testing.hosts import TestNetwork, missing_for_hosts

MODEL = "paced"
RANKS = 2
LINKS = ("1 Gbit/s", "200 Mbit/s")
STEPS = 3


def measure(rounds: int) -> dict[str, Any]:
    """By hosts and link, of a step of each job: milliseconds, processor time of all ranks, and what
    a host sends; or why it cannot be measured."""
    if reason := missing_for_hosts():
        return {"skipped": reason}
    with _started() as (network, jobs, names):
        found = {}
        for link in LINKS:
            shape(network, link)
            found[link] = _measure(network, jobs, names, rounds, link)
    return {f"2 hosts of {RANKS} ranks, {MODEL}": found}


@contextmanager
def _started() -> Iterator[tuple[TestNetwork, Jobs, list[str]]]:
    with hosts_of(2) as network:
        made = _jobs(network)
        with Jobs(made) as jobs:
            yield network, jobs, [job.name for job in made]


def _jobs(network: TestNetwork) -> list[Job]:
    plain, malloc = environments(network)
    made = [
        launched(
            network, plain, f"ours_{controller}{suffix}{way}", controller, MODEL,
            "straight" if way else "ours", dtype, ranks=RANKS,
        )
        for controller in ("gloo", "mpi")
        for suffix, dtype in (("", "float32"), ("_16_bit", "bfloat16"))
        for way in ("", "_straight")
    ]  # fmt: skip
    for number, (name, env) in enumerate((("ddp", plain), ("apart", {**plain, **malloc}))):
        settings = (MODEL, name, "float32", PORT + number)
        made.append(by_hand(network, env, name, *settings, ranks=RANKS))
    return made


def _measure(
    network: TestNetwork, jobs: Jobs, names: list[str], rounds: int, link: str
) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    sent: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        print(f"network {link}: round {number + 1} of {rounds}", file=sys.stderr)
        for index in range(len(names)):
            name = names[(index + number) % len(names)]
            before = _bytes_sent(network)
            answers = jobs[name].run(steps=STEPS)
            # A burst makes a step before it looks at the clock.
            sent[name].append((_bytes_sent(network) - before) / (STEPS + 1))
            seconds[name].append(max(answer["seconds"] for answer in answers) / STEPS)
            cpu[name].append(sum(answer["cpu_seconds"] for answer in answers) / STEPS)
    return {
        "ms_a_step": {name: 1e3 * statistics.median(times) for name, times in seconds.items()},
        "cpu_ms_a_step": {name: 1e3 * statistics.median(times) for name, times in cpu.items()},
        "mb_a_step": {name: 1e-6 * statistics.median(sizes) for name, sizes in sent.items()},
    }


def _bytes_sent(network: TestNetwork) -> int:
    """By the first host, as the other end of its cable has counted."""
    cable = network.hosts["host1"].cable
    return int(Path("/sys/class/net", cable, "statistics/rx_bytes").read_text())
