"""The plan of one call of `tune`: its options, checked, with every problem reported at once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hvdcore.config import Config, load_config
from hvdcore.errors import Problems
from hvdcore.runtime.environment import cores_available, threads_per_rank
from hvdcore.tune.space import Space, check_space, read_space, space_as_json
from hvdcore.tune.tunable import Objective, Tunable

__all__ = ["Limits", "Plan", "make_plan"]


class Limits(Config):
    """How much is tried, and where. It may differ from one call to the next on a study, the ranks
    too: what N ranks train is what one rank trains."""

    trials: int = Field(default=20, ge=1)
    """Trials in all."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds until running trials are stopped and no more are started."""
    parallel_trials: int | None = Field(default=None, ge=1)
    """Trials at a time; by default as many as have a core for each rank."""
    pruner: Literal["median", "halving", "none"] = "median"
    """How trials that are not promising are stopped early."""
    np: int = Field(default=1, ge=1)
    """Ranks of each trial."""
    hosts: str | None = None
    """Where they run; None is this machine."""
    stall_timeout: float | None = Field(default=None, gt=0)
    """Seconds without a heartbeat from a rank until its trial is stopped."""
    engine: Literal["local", "ray"] = "local"
    """What starts trials: this process, on this host; or Ray, on the nodes of its cluster."""


@dataclass(frozen=True)
class Plan:
    """All that is known before the first trial.

    Args:
        file, flags: of the configuration that all trials share; flags that fix a field have taken
            it out of `space`.
    """

    tunable: Tunable
    file: Path | None
    flags: Mapping[str, Any]
    space: Space
    objective: Objective
    limits: Limits

    @cached_property
    def base(self) -> Config:
        """The configuration that all trials share, searched fields at their base values."""
        return load_config(self.tunable.config, self.file, self.flags)

    def config(self, params: Mapping[str, Any]) -> Config:
        """The configuration of a trial.

        Raises:
            UserError: the values do not fit together.
        """
        return load_config(self.tunable.config, self.file, {**self.flags, **params})

    @property
    def seed(self) -> int:
        """Of the parameters; the trials train with it too."""
        return int(getattr(self.base, "seed", 0))

    def num_parallel(self, cores: int | None = None) -> int:
        """Trials at a time: as asked, else as many as have a core for each rank, at least 1; one
        where there is a GPU, for ranks of several trials would crowd onto the same."""
        if self.limits.parallel_trials is not None:
            return self.limits.parallel_trials
        if self.limits.hosts is not None or has_gpu():  # other hosts' cores are not known here
            return 1
        return max(1, min(self.limits.trials, (cores or cores_available()) // self.limits.np))

    def threads(self, cores: int | None = None) -> int | None:
        """Compute threads of each rank; None leaves it to the launcher, which sees one job."""
        parallel = self.num_parallel(cores)
        if parallel == 1 or self.limits.hosts is not None:
            return None
        return threads_per_rank(self.limits.np * parallel, cores or cores_available())

    def fingerprint(self) -> dict[str, Any]:
        """What a study and another call must have in common for the study to be resumed."""
        shared = self.base.model_dump(mode="json")
        for name in self.space:
            group, *rest = name.split(".")
            if not rest:
                shared.pop(group, None)
        values = {
            "package": self.tunable.package,
            "objective": self.objective.metric,
            "space": space_as_json(self.space),
            "config": shared,
        }
        return dict(json.loads(json.dumps(values)))


def has_gpu() -> bool:
    """Whether this host shows an NVIDIA GPU to its programs. Loads no framework."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    return not hidden and any(Path("/dev").glob("nvidia[0-9]*"))


def make_plan(
    tunable: Tunable,
    flags: Mapping[str, Any],
    *,
    config: Path | None,
    limits: Mapping[str, Any],
    objective: str | None,
    space: Path | None,
) -> Plan:
    """Read everything that the user gave.

    Args:
        flags: fields of the training configuration, None where not given; those that are given
            are fixed, and not searched.
        limits: fields of `Limits`.

    Raises:
        UserError: with every problem.
    """
    problems = Problems()
    fixed = {name: value for name, value in flags.items() if value is not None}
    chosen = Limits()
    with problems.catching():
        chosen = load_config(Limits, None, limits)
    name = objective or next(iter(tunable.objectives))
    if name not in tunable.objectives:
        choices = ", ".join(tunable.objectives)
        problems.add("objective", f"got {name!r}; give one of {choices}")
    searched: Space = {}
    with problems.catching():
        base = load_config(tunable.config, config, fixed)
        whole = read_space(space, tunable.config) if space else tunable.space(base)
        searched = {field: d for field, d in whole.items() if field not in fixed}
        check_space(searched, tunable.config, config, fixed)
    if chosen.engine == "ray" and chosen.hosts is not None:
        problems.add("hosts", "Ray chooses the node of each trial; leave --hosts out, or --engine")
    problems.raise_if_any()
    return Plan(tunable, config, fixed, searched, tunable.objectives[name], chosen)
