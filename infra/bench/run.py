"""Speed against peers: `nox -s bench`, or `python infra/bench/run.py [--quick] [--output FILE]`.

Prints a table, and writes every figure as JSON. Times vary with the machine, so what counts are
ratios within one run. With --check a missed target ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import allreduce
import corpus
import finetune
import generation
import keras_jobs
import keras_network
import network
import network_several
import training
from table import table

from hvdcore.runtime.environment import cores_available


def generate(rounds: int) -> list[dict[str, Any]]:
    """Greedy generation against transformers, the small model."""
    return [asdict(result) for result in generation.measure(["0.8m"], rounds=rounds)]


def train_over_network(rounds: int) -> dict[str, Any]:
    """Hosts of one rank, and of several."""
    return {**network.measure(rounds), **network_several.measure(rounds)}


PARTS: dict[str, tuple[Callable[[int], Any], int, int]] = {
    "allreduce": (allreduce.measure, 9, 3),
    "training": (training.measure, 11, 3),
    "generation": (generate, 5, 2),
    "images": (partial(keras_jobs.measure, "images"), 9, 3),
    "news": (partial(keras_jobs.measure, "news"), 9, 3),
    "finetune": (finetune.measure, 9, 3),
    "corpus": (corpus.measure, 2, 1),
    "network": (train_over_network, 5, 2),
    "keras_network": (keras_network.measure, 5, 2),
}
"""What measures a part in so many rounds, and its rounds: the usual number and the quick one."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under 2 minutes")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be repeated")
    parser.add_argument("--rounds", type=int, help="rounds of every part")
    parser.add_argument("--output", type=Path, metavar="FILE", help="all figures as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    # So that SIGTERM ends the ranks too, not this process alone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    results: dict[str, Any] = {"machine": platform.platform(), "cores": cores_available()}
    for name in options.only or PARTS:
        measure, usual, quick = PARTS[name]
        results[name] = measure(options.rounds or (quick if options.quick else usual))
        results["seconds"] = round(time.monotonic() - started)
        if options.output:
            options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    lines, all_met = table(results)
    print("\n".join(lines))
    return 1 if options.check and not all_met else 0


if __name__ == "__main__":
    sys.exit(main())
