"""Trials on a Ray cluster: each is a job launched on the node that Ray assigns.

The study stays with the tuner. The nodes share the study's directory and have the same environment;
one actor per trial holds its launcher, which ends when the actor does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from hvdcore.errors import UserError
from hvdcore.launch.ray.connection import own_signals, why_unreachable
from hvdcore.launch.supervisor.outcome import EXIT_FAILED
from hvdcore.run.run_dir import RunDir
from hvdcore.runtime.environment import threads_per_rank
from hvdcore.tune.folder import StudyFolder
from hvdcore.tune.job import job_command
from hvdcore.tune.plan import Limits, Plan
from hvdcore.tune.trial import LocalProcess, Process, console_log

__all__ = ["RayEngine"]

_ANSWER_SECONDS = 10.0
_GIVEN_BY_RAY = ("CUDA_VISIBLE_DEVICES",)


class _Launcher:
    """Runs in an actor: the launcher is its child, so that it ends with it."""

    def __init__(
        self, path: Path, command: list[str], limits: Limits, env: Mapping[str, str]
    ) -> None:
        given = {name: os.environ[name] for name in _GIVEN_BY_RAY if name in os.environ}
        launched = job_command(command, limits, RunDir(path).logs)
        self._process = LocalProcess(console_log(path), launched, {**env, **given})

    def exit_code(self) -> int | None:
        return self._process.exit_code()

    def stop(self) -> None:
        self._process.stop()

    def kill(self) -> None:
        self._process.kill()


class RayProcess:
    """A launcher on some node, through its actor; it waits in Ray's queue until one is free."""

    def __init__(self, actor: Any, log: Path) -> None:
        self._actor = actor
        self._log = log
        self._asked = actor.exit_code.remote()
        self._is_there = False
        self._code: int | None = None

    def exit_code(self) -> int | None:
        """The code, or that of a failed job where the actor or its node is lost."""
        if self._code is None and ray.wait([self._asked], timeout=0)[0]:
            self._is_there = True
            try:
                self._code = ray.get(self._asked)
                self._asked = self._actor.exit_code.remote()
            except RayError as error:
                self._lose(f"error: Ray lost the trial: {str(error).splitlines()[0]}")
            if self._code is not None:
                ray.kill(self._actor)
        return self._code

    def _lose(self, line: str) -> None:
        self._code = EXIT_FAILED
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def stop(self) -> None:
        """As `Process.stop`; what still waits for a node is taken out of the queue."""
        if self._is_there:
            self._actor.stop.remote()
        else:
            ray.kill(self._actor)
            self._code = 128 + signal.SIGTERM

    def kill(self) -> None:
        """As `Process.kill`."""
        with contextlib.suppress(RayError):
            ray.get(self._actor.kill.remote(), timeout=_ANSWER_SECONDS)
        ray.kill(self._actor)


class RayEngine:
    """A connection to the cluster of RAY_ADDRESS, to one that runs on this host, or to one that is
    started here for as long as the connection is open. Use it as a context manager.

    Raises:
        UserError: no cluster answers at RAY_ADDRESS, or it is too small for one trial.
    """

    def __init__(self, plan: Plan, folder: StudyFolder) -> None:
        self._limits = plan.limits
        _connect()
        cluster = ray.cluster_resources()
        self._resources = _resources(plan.limits.np, cluster)
        fits = _num_trials(self._resources, cluster)
        if fits == 0:
            ray.shutdown()
            raise UserError(
                f"np: got {plan.limits.np}; Ray's cluster has {cluster.get('CPU', 0):g} CPUs"
            )
        wanted = plan.limits.parallel_trials or fits
        self.num_parallel = max(1, min(wanted, plan.limits.trials))
        threads = threads_per_rank(plan.limits.np, int(self._resources["num_cpus"]))
        self._environment = folder.environment(threads)

    def start(self, path: Path, command: list[str]) -> Process:
        """As `Engine.start`, on the first node with a CPU, or a GPU, for each rank."""
        actors = ray.remote(**self._resources)(_Launcher)
        actor = actors.remote(path.resolve(), command, self._limits, self._environment)
        return RayProcess(actor, console_log(path))

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        with own_signals():
            ray.shutdown()


def _resources(np: int, cluster: Mapping[str, float]) -> dict[str, float]:
    """What a trial asks for: a CPU for each rank, and a GPU where the cluster has some."""
    return {"num_cpus": np, **({"num_gpus": np} if cluster.get("GPU") else {})}


def _num_trials(resources: Mapping[str, float], cluster: Mapping[str, float]) -> int:
    """How many trials the cluster holds at a time."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    return int(min(cluster.get(names[n], 0.0) // wanted for n, wanted in resources.items()))


def _connect() -> None:
    address = os.environ.get("RAY_ADDRESS", "")
    why = why_unreachable(address) if ":" in address and "://" not in address else ""
    try:
        if not why:
            with own_signals():
                ray.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    except (ConnectionError, RayError, ValueError) as error:
        why = str(error).splitlines()[0]
    if why:
        raise UserError(
            f"engine: no Ray cluster at {address or 'this host'} ({why}); set RAY_ADDRESS to one, "
            "or unset it to start one here"
        )
