"""What starts trials: this process on this host, or Ray on the nodes of its cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from hvdcore.run.run_dir import RunDir
from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.job import job_command
from hvdcore.tune.plan import Plan
from hvdcore.tune.trial import LocalProcess, Process, console_log

__all__ = ["Engine", "open_engine"]


class Engine(Protocol):
    """Starts trials, each a launched job on one host."""

    num_parallel: int
    """Trials at a time."""

    def start(self, path: Path, command: list[str]) -> Process:
        """Start the command on the trial's ranks; its run directory is `path`."""
        ...


@contextlib.contextmanager
def open_engine(plan: Plan, folder: StudyFolder) -> Iterator[Engine]:
    """The engine that the plan asks for; inside, the study's folder is taken.

    Raises:
        UserError: there is no such cluster, or none of its nodes can hold a trial.
    """
    if plan.limits.engine == "local":
        yield LocalEngine(plan, folder)
        return
    from hvdcore.tune.ray_engine import RayEngine

    with RayEngine(plan, folder) as engine:
        yield engine


class LocalEngine:
    """Starts trials as children of this process."""

    def __init__(self, plan: Plan, folder: StudyFolder) -> None:
        self.num_parallel = plan.num_parallel()
        self._limits = plan.limits
        self._environment = folder.environment(plan.threads())

    def start(self, path: Path, command: list[str]) -> Process:
        launched = job_command(command, self._limits, RunDir(path).logs)
        return LocalProcess(console_log(path), launched, self._environment)
