"""Makes the figures of "Why you can trust the numbers": `python infra/docs/trust/make_curves.py`.

Trains a small transformer on the built-in stories on 1, 2, 3 and 4 ranks, kills and resumes a run,
changes the hosts of an elastic one, and draws the curves with their controls.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FLAGS = (
    "--data", "sample", "--model", "char", "--num-layers", "3", "--embed-dim", "64",
    "--mlp-dim", "128", "--tokenizer", "byte", "--context-length", "64",
    "--global-batch-size", "12", "--learning-rate", "0.004", "--log-every", "1",
    "--val-fraction", "0.001", "--test-fraction", "0.001", "--sample-tokens", "0",
)  # fmt: skip
VERSIONS = ("torch", "horovod", "numpy")
REFERENCE = "2 ranks"
CONTROL = "control: seed 1"
Curve = dict[int, float]


def main() -> None:
    """Make the runs in a folder, then `curves.json` and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="folder for the runs; default: a temporary one")
    parser.add_argument("--out", type=Path, default=HERE.parent / "figures")
    parser.add_argument("--steps", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        curves = make_runs(options.runs or Path(temporary), options.steps)
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"made": made(options.steps), "runs": summary(curves)}, indent=1)
    (options.out / "curves.json").write_text(text + "\n")
    draw(curves, options.out)
    print(text)


def made(steps: int) -> dict[str, Any]:
    """What the page says about how the curves were made."""
    versions = {name: metadata.version(name) for name in VERSIONS}
    return {
        "date": datetime.date.today().isoformat(),
        "train": shlex.join(("textgen", "train", *FLAGS, "--max-steps", str(steps))),
        "versions": {"python": platform.python_version(), **versions},
    }


def make_runs(folder: Path, steps: int) -> dict[str, tuple[Curve, str]]:
    """Name to the loss of every train step and the digest of the weights at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    every = ("--eval-every", str(max(1, steps // 2)), "--checkpoint-every", str(max(1, steps // 8)))
    flags = (*FLAGS, "--max-steps", str(steps), *every)
    for np in (1, 2, 3, 4):
        train(folder / ranks(np), *flags, "--np", str(np))
    train(folder / CONTROL, *flags, "--np", "2", "--seed", "1")
    for np in (2, 3):
        path = folder / f"killed, resumed on {np}"
        kill_at(path, steps // 2, *flags, "--np", "2")
        assert max(losses(path)) < steps, f"{path.name}: trained to its end before it was killed"
        train(path, *flags, "--np", str(np), "--resume", "auto")
    elastic(folder / "elastic, 2 to 3 ranks", steps // 3, *flags)
    return {path.name: (losses(path), weights(path)) for path in sorted(folder.iterdir())}


def ranks(np: int) -> str:
    return "1 rank" if np == 1 else f"{np} ranks"


def command(path: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "textgen", "train", "--output-dir", str(path), *flags]


def train(path: Path, *flags: str) -> None:
    """One run to its end."""
    subprocess.run(command(path, *flags), check=True)


def kill_at(path: Path, step: int, *flags: str) -> None:
    """Kill the launcher and its ranks without warning once a step is reached."""
    with subprocess.Popen(command(path, *flags), start_new_session=True) as process:
        wait_for_step(path, step, process)
        os.killpg(process.pid, signal.SIGKILL)
        for pid in processes_of(path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    while processes_of(path):
        time.sleep(0.2)


def processes_of(path: Path) -> list[str]:
    """Ids of the processes that have a run's directory in their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(path) in file.read_bytes():
                found.append(file.parent.name)
    return found


def elastic(path: Path, step: int, *flags: str) -> None:
    """Start on two slots, and offer three once a step is reached."""
    hosts = path.with_name("hosts")
    hosts.write_text("localhost:2\n")
    script = path.with_name("hosts.sh")
    script.write_text(f"#!/bin/sh\ncat '{hosts}'\n")
    script.chmod(0o755)
    more = ("--min-np", "1", "--host-discovery-script", str(script))
    with subprocess.Popen(command(path, *flags, *more)) as process:
        wait_for_step(path, step, process)
        hosts.write_text("localhost:3\n")
        assert process.wait() == 0, path
    size = json.loads((path / "report.json").read_text())["size"]
    assert size == 3, f"{path.name}: ended on {size} ranks: the third slot came too late"
    hosts.unlink()
    script.unlink()


def wait_for_step(path: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    while max(losses(path), default=-1) < step:
        assert process.poll() is None, f"{path.name}: ended before step {step}"
        time.sleep(0.2)


def points(path: Path) -> list[dict[str, Any]]:
    file = path / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def losses(path: Path) -> Curve:
    """Step to train loss."""
    return {p["step"]: p["loss"] for p in points(path) if p["split"] == "train"}


def weights(path: Path) -> str:
    return str(json.loads((path / "report.json").read_text())["weights_sha256"])


def largest_difference(one: Curve, other: Curve) -> float:
    """Over all steps, which must be the same."""
    assert one.keys() == other.keys(), sorted(one.keys() ^ other.keys())
    return max(abs(one[step] - other[step]) for step in one)


def summary(curves: dict[str, tuple[Curve, str]]) -> dict[str, Any]:
    """What the page's table says."""
    reference, digest = curves[REFERENCE]
    return {
        name: {
            "last_loss": curve[max(curve)],
            "largest_difference": largest_difference(reference, curve),
            "same_weights": sha == digest,
        }
        for name, (curve, sha) in curves.items()
    }


def draw(curves: dict[str, tuple[Curve, str]], out: Path) -> None:
    """`ranks.svg`: the number of ranks. `resume.svg`: killed, resumed and elastic."""
    several = [ranks(np) for np in (1, 2, 3, 4)]
    stopped = [REFERENCE, *(n for n in curves if n.startswith(("killed", "elastic")))]
    for file, names in (("ranks.svg", several), ("resume.svg", stopped)):
        _figure(curves, [*names, CONTROL], out / file)


def _figure(curves: dict[str, tuple[Curve, str]], names: list[str], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "curves", "font.size": 9})
    reference = curves[REFERENCE][0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for number, name in enumerate(names):
        curve = curves[name][0]
        is_control = name.startswith("control")
        style = {"color": "k", "ls": ":"} if is_control else {"color": f"C{number}"}
        width = 1.2 if is_control else max(5 - number, 1)  # the curves lie upon each other
        steps = sorted(curve)
        left.plot(steps, [curve[s] for s in steps], label=name, lw=width, **style)
        gaps = [max(abs(curve[s] - reference[s]), 1e-9) for s in steps]
        if name != REFERENCE:
            right.semilogy(steps, gaps, label=name, lw=1.2, **style)
    left.set(xlabel="step", ylabel="train loss, nats a byte")
    right.set(xlabel="step", ylabel="difference from 2 ranks, nats", ylim=(1e-10, 5))
    right.annotate("on this line: equal", (1, 6e-10), va="top", color="0.35")
    left.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
