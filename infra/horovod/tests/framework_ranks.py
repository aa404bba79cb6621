"""Starts a program of `programs/` as real ranks, and reads what each rank wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).resolve().parent / "programs"
SECONDS = 1800.0

QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "2",
    "CUDA_VISIBLE_DEVICES": "",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


def run_program(
    program: str, folder: Path, controller: str, size: int = 2, env: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """What each of `size` ranks of `programs/PROGRAM` returned for its cases.

    Args:
        program: the file's name.
        folder: empty; the ranks write into it.
        controller: "mpi" or "gloo".
        size: number of ranks.
        env: variables to set.

    Raises:
        AssertionError: a rank failed, with all that the ranks said.
    """
    name = f"--{controller}"
    command = [sys.executable, "-m", "horovod.runner.launch", name, "-np", str(size)]
    command += ["-H", f"localhost:{size}", sys.executable, str(PROGRAMS / program), str(folder)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        env={**os.environ, **QUIET, "PATH": path, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout[-20000:]
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(size)]


def can_start(controller: str) -> bool:
    """Whether the controller's launcher is here."""
    beside = shutil.which("mpirun", path=str(Path(sys.executable).parent))
    return controller != "mpi" or bool(beside or shutil.which("mpirun"))
