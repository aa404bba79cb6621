"""Starts the programs beside it as real ranks, once a controller, and reads what they say."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from hvdcore.testing.ranks import RESULT_DIR, run_ranks

PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 900.0
Results = list[dict[str, Any]]
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"}


def run_program(
    folder: Path, size: int, controller: Literal["mpi", "gloo"], program: str, *args: str
) -> Results:
    """Each rank's results. With `size` 1 the program runs with no launcher at all."""
    command = [sys.executable, str(PROGRAMS / program), *args]
    if size == 1:
        env = {**os.environ, **QUIET, RESULT_DIR: str(folder)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads((folder / "rank-0.json").read_text("utf-8"))]
    ended = run_ranks(
        command,
        size,
        folder=folder,
        controller=controller,
        launcher="horovodrun",
        timeout=SECONDS,
        env=QUIET,
    )
    ended.check()
    return [ended.results[rank] for rank in range(size)]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Results]:
    """`run_program` in a folder of its own; skips where Keras or Horovod is not installed."""
    for needed in ("tensorflow", "keras", "horovod"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")

    def run(size: int, controller: Literal["mpi", "gloo"], program: str, *args: str) -> Results:
        folder = tmp_path_factory.mktemp(f"{controller}-{size}")
        return run_program(folder, size, controller, program, *args)

    return run


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the ranks write files to; the last controller's stay."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="session", params=["mpi", pytest.param("gloo", marks=pytest.mark.proof)])
def ranks(request: pytest.FixtureRequest, start: Callable[..., Results], scratch: Path) -> Results:
    """What two ranks returned for every case, over MPI and in the long form over Gloo."""
    modules = ("gradients", "collectives", "training", "beats")
    return start(2, request.param, "run_cases.py", str(scratch), *modules)
