"""Speed against peers: `nox -s bench`, or `python infra/bench/run.py [--quick] [--output FILE]`.

Prints a table, writes every figure as JSON. Times vary with the machine, so what counts are ratios
within one run. With --check a missed target ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import allreduce
import training

from hvdcore.environment import cores_available

ROUNDS = {"quick": {"allreduce": 3, "training": 3}, "full": {"allreduce": 9, "training": 11}}
AT_LEAST = {
    "speed_against_ddp": 1.2,
    "speed_against_one_process": 1.0,
    "weak_scaling_efficiency": 0.95,
}
ALLREDUCE_AT_MOST = 0.8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under 2 minutes")
    parser.add_argument("--only", choices=["allreduce", "training"], help="one part")
    parser.add_argument("--output", type=Path, help="write all figures here as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    rounds = ROUNDS["quick" if options.quick else "full"]
    parts = {"allreduce": allreduce.measure, "training": training.measure}
    started = time.monotonic()
    results: dict[str, Any] = {"machine": platform.platform(), "cores": cores_available()}
    for name, measure in parts.items():
        if options.only in (None, name):
            results[name] = measure(rounds[name])
    results["seconds"] = time.monotonic() - started
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    lines = [*_allreduce_lines(results), *_training_lines(results)]
    print("\n".join(line for line, _ in lines))
    return 1 if options.check and not all(met for _, met in lines) else 0


def _allreduce_lines(results: dict[str, Any]) -> list[tuple[str, bool]]:
    lines = []
    for size, found in results.get("allreduce", {}).items():
        met = found["ratio"] <= ALLREDUCE_AT_MOST
        times = f"{found['ours_ms']:8.2f} ms / {found['ddp_ms']:8.2f} ms"
        lines.append(
            _line(f"allreduce {size}", found["ratio"], f"<= {ALLREDUCE_AT_MOST}", times, met)
        )
    return lines


def _training_lines(results: dict[str, Any]) -> list[tuple[str, bool]]:
    lines = []
    for sequences, found in results.get("training", {}).items():
        for name, value in found.items():
            if name.startswith(("speed", "weak")):
                least = AT_LEAST.get(name)
                met = least is None or value >= least
                target = f">= {least}" if least else ""
                title = f"{sequences} x 64 {name.replace('_', ' ')}"
                lines.append(_line(title, value, target, "", met))
        times = ", ".join(f"{n} {v:.1f}" for n, v in found["ms_a_step"].items())
        lines.append((f"  ms a step: {times}", True))
        lines.append((f"  of ours in collectives: {found['communication_ms_a_step']:.2f}", True))
    return lines


def _line(title: str, value: float, target: str, times: str, met: bool) -> tuple[str, bool]:
    verdict = ("met" if met else "MISSED") if target else ""
    return f"{title:46} {value:6.2f}  {target:8} {verdict:7} {times}".rstrip(), met


if __name__ == "__main__":
    sys.exit(main())
