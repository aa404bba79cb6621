"""What is installed: frameworks, Horovod, controllers; and how to fix what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from hvdcore.launch.job.controllers import (
    find_program,
    horovod_extensions,
    horovod_folder,
    mpi_problem,
    operations_built,
)
from hvdcore.runtime.environment import cores_available, threads_per_rank

__all__ = ["FRAMEWORKS", "Finding", "environment_report", "installed"]

FRAMEWORKS = ("torch", "tensorflow")
"""Distributions, which are also the names of Horovod's folders."""

# Horovod's own names for them in metadata.json.
_METADATA_NAMES = {"torch": "pytorch", "tensorflow": "tensorflow"}


@dataclass(frozen=True)
class Finding:
    """One line of the report. `fix` is not empty where something is to be done."""

    name: str
    value: str
    fix: str = ""


def installed(distribution: str) -> str | None:
    """The version of a distribution, None when it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _horovod() -> list[Finding]:
    folder, version = horovod_folder(), installed("horovod")
    if folder is None or version is None:
        fix = "install it: pip install ./infra/horovod in a checkout"
        return [Finding("horovod", "not installed", fix)]
    found = [Finding("horovod", version)]
    built = _built_against(folder)
    extensions = horovod_extensions()
    found += [_framework(f, installed(f), built, f in extensions) for f in FRAMEWORKS]
    if installed("keras"):
        found.append(Finding("keras", str(installed("keras"))))
    if not any(installed(f) and f in extensions for f in FRAMEWORKS):
        fix = "install torch or tensorflow in the version that Horovod was built for"
        found.append(Finding("framework", "none that Horovod can use", fix))
    return found


def _built_against(folder: Path) -> dict[str, str]:
    try:
        content = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: str(content.get(key, "")) for name, key in _METADATA_NAMES.items()}


def _framework(
    name: str, installed: str | None, built: dict[str, str], has_extension: bool
) -> Finding:
    if not has_extension:
        value = f"{installed or 'not installed'}; Horovod built without it"
        return Finding(name, value)
    against = built.get(name, "unknown")
    if installed is None:
        return Finding(name, f"not installed (Horovod built for {against})")
    if _release(installed) == _release(against):
        return Finding(name, f"{installed} (Horovod built for {against})")
    fix = f"pip install '{name}=={_release(against)}', or build Horovod again"
    return Finding(name, f"{installed}, but Horovod was built for {against}", fix)


def _release(version: str) -> str:
    return version.partition("+")[0]


def _machine() -> list[Finding]:
    cores = cores_available()
    threads = threads_per_rank(2, cores)
    return [
        Finding("python", f"{platform.python_version()} ({sys.executable})"),
        Finding("hvdcore", installed("hvdcore") or "unknown"),
        Finding("cores", f"{cores}; slots for ranks: {cores} (more ranks share cores)"),
        Finding("threads per rank", f"{threads} with two ranks here"),
    ]


def _controllers() -> list[Finding]:
    if not horovod_extensions():
        return []
    program = find_program("mpirun")
    problem = mpi_problem()
    mpi = Finding("mpi", f"works ({program})") if problem is None else _missing("mpi", problem)
    operations = operations_built()
    gloo = Finding("gloo", "built in")
    if "gloo" not in operations:
        gloo = _missing("gloo", "not built in; build Horovod's wheel with HOROVOD_WITH_GLOO=1")
    return [mpi, gloo, Finding("tensor operations", ", ".join(operations) or "none")]


def _missing(name: str, problem: str) -> Finding:
    what, _, fix = problem.partition("; ")
    return Finding(name, what, fix or "see the message")


def environment_report() -> list[Finding]:
    """Everything that can be seen without starting ranks. Loads no framework."""
    return [*_machine(), *_horovod(), *_controllers()]
