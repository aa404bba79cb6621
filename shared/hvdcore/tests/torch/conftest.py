"""Starts the programs beside it as real ranks, once a size and controller, and reads their say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest

pytest.importorskip("torch")
pytest.importorskip("horovod")

from hvdcore.testing.ranks import RESULT_DIR, run_ranks

PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 600.0
WORLDS = [("none", 1), *((c, size) for c in ("mpi", "gloo") for size in (1, 2, 3, 4))]
# Long forms: nothing is asked of them that the other sizes and controllers are not asked.
LONG = [("mpi", 1), ("gloo", 1), ("gloo", 3), ("mpi", 4), ("gloo", 4)]
Start = Callable[..., list[dict[str, Any]]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames:
        worlds = [
            pytest.param(
                (controller, size), id=f"{controller}-{size}",
                marks=[pytest.mark.proof] * ((controller, size) in LONG),
            )
            for controller, size in WORLDS
        ]  # fmt: skip
        metafunc.parametrize("world", worlds, scope="session")


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Each rank's results of a program, by (program, controller, size, arguments); run once."""

    @cache
    def run(
        program: str, controller: Literal["mpi", "gloo"], size: int, *args: str
    ) -> list[dict[str, Any]]:
        folder = tmp_path_factory.mktemp(f"{program}-{controller}-{size}")
        command = [sys.executable, str(PROGRAMS / f"{program}.py"), *args]
        threads = {"OMP_NUM_THREADS": "1"}
        if controller == "none":
            env = {**os.environ, **threads, RESULT_DIR: str(folder)}
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
            env=threads,
        ).check()
        return [ended.results[rank] for rank in range(size)]

    return run
