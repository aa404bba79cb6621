"""What is installed: frameworks, Horovod, controllers; and how to fix what is missing."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from dataclasses import dataclass

from hvdcore.launch.job.controllers import (
    find_program,
    horovod_library,
    mpi_problem,
    operations_available,
)
from hvdcore.runtime.environment import cores_available, threads_per_rank

__all__ = ["FRAMEWORKS", "Finding", "environment_report", "installed"]

FRAMEWORKS = ("torch", "tensorflow", "keras", "jax")
"""Distributions that ranks compute with; Horovod itself needs none of them but NumPy."""


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
    version = installed("horovod")
    if horovod_library() is None or version is None:
        fix = "install it: pip install ./infra/horovod in a checkout"
        return [Finding("horovod", "not installed", fix)]
    return [Finding("horovod", version), *(_framework(name) for name in FRAMEWORKS)]


def _framework(name: str) -> Finding:
    return Finding(name, installed(name) or "not installed")


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
    if horovod_library() is None:
        return []
    program = find_program("mpirun")
    problem = mpi_problem()
    mpi = Finding("mpi", f"works ({program})") if problem is None else _missing("mpi", problem)
    operations = operations_available()
    gloo = Finding("gloo", "built in")
    if "gloo" not in operations:
        gloo = _missing("gloo", "not built in; pip install --force-reinstall ./infra/horovod")
    return [mpi, gloo, Finding("tensor operations", ", ".join(operations) or "none")]


def _missing(name: str, problem: str) -> Finding:
    what, _, fix = problem.partition("; ")
    return Finding(name, what, fix or "see the message")


def environment_report() -> list[Finding]:
    """Everything that can be seen without starting ranks. Loads no framework."""
    return [*_machine(), *_horovod(), *_controllers()]
