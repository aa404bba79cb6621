"""The examples on two real ranks: their loss falls, and all ranks end with the same weights.

The control of each is the same script without the line that reduces gradients.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from runner_jobs import environment, has_mpirun, horovodrun, run

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
LINE = re.compile(r"rank (\d) of 2: loss ([\d.]+) -> ([\d.]+), ([0-9a-f]{64})")

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("default")]


@dataclass(frozen=True)
class Example:
    """A script, what starts it, what it imports, and the line that reduces, with its control."""

    file: str
    start: str
    needs: str
    reduces: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}-{self.start}"


_TORCH = (
    "optimizer = hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())"
)
ALL = [
    Example("pytorch_train.py", "mpi", "torch", _TORCH, "pass"),
    Example("pytorch_elastic.py", "elastic", "torch", _TORCH, "pass"),
    Example(
        "keras_fit.py",
        "gloo",
        "keras",
        "hvd.DistributedOptimizer(keras.optimizers.SGD(0.1 * hvd.size(), momentum=0.9))",
        "keras.optimizers.SGD(0.1 * hvd.size(), momentum=0.9)",
    ),
    Example(
        "keras_loop.py",
        "mpi",
        "keras",
        "hvd_keras.DistributedOptimizer(keras.optimizers.SGD(0.1 * hvd.size(), momentum=0.9))",
        "keras.optimizers.SGD(0.1 * hvd.size(), momentum=0.9)",
    ),
    Example(
        "tensorflow_function.py",
        "gloo",
        "tensorflow",
        "tape = hvd.DistributedGradientTape(tape)",
        "pass",
    ),
    Example("numpy_least_squares.py", "mpi", "numpy", "gradient = hvd.allreduce(gradient)", "pass"),
    Example("jax_train.py", "gloo", "jax", "gradients = hvd.allreduce_tree(gradients)", "pass"),
    Example("ray_train.py", "ray", "ray", _TORCH, "pass"),
]


def printed(example: Example, script: Path, folder: Path) -> dict[str, tuple[float, float, str]]:
    """For each rank what the script printed: the loss at the beginning and the end, the digest."""
    if importlib.util.find_spec(example.needs) is None:
        pytest.skip(f"{example.needs} is not installed")
    if example.start == "mpi" and not has_mpirun():
        pytest.skip("no mpirun here")
    command = [sys.executable, str(script)]
    if example.start == "elastic":
        discover = folder / "discover.sh"
        discover.write_text("#!/bin/sh\necho localhost:2\n")
        discover.chmod(0o755)
        how = ["--network-interfaces", "lo", "--host-discovery-script", discover]
        command = horovodrun("-np", "2", *how, *command)
    elif example.start != "ray":
        command = horovodrun("-np", "2", f"--{example.start}", *command)
    done = run(command, env=environment(**QUIET), cwd=folder)
    assert done.returncode == 0, tail(done)
    found = {rank: (float(a), float(b), d) for rank, a, b, d in LINE.findall(done.stdout)}
    assert sorted(found) == ["0", "1"], tail(done)
    return found


QUIET = {
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_NUM_INTRAOP_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "RAY_AUTH_MODE": "disabled",
}


def tail(done: subprocess.CompletedProcess[str]) -> str:
    return f"exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("example", ALL, ids=str)
def test_example(example: Example, tmp_path: Path) -> None:
    ranks = printed(example, EXAMPLES / example.file, tmp_path)
    assert ranks["0"] == ranks["1"]
    first, last, _ = ranks["0"]
    assert last < 0.5 * first


@pytest.mark.parametrize(
    "example",
    [pytest.param(one, marks=[] if "numpy" in one.file else pytest.mark.proof) for one in ALL],
    ids=str,
)
def test_control_without_reduction_ranks_differ(example: Example, tmp_path: Path) -> None:
    source = (EXAMPLES / example.file).read_text(encoding="utf-8")
    assert source.count(example.reduces) == 1
    script = tmp_path / example.file
    script.write_text(source.replace(example.reduces, example.instead), encoding="utf-8")
    ranks = printed(example, script, tmp_path)
    assert ranks["0"][2] != ranks["1"][2]


def test_every_example_is_run_and_listed() -> None:
    files = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert files == sorted(example.file for example in ALL)
    listed = re.findall(r"^\| `(\w+\.py)`", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == files
