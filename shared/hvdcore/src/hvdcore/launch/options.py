"""The options of a command line about its ranks: where they run, and how often they start."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hvdcore.errors import Problems, UserError
from hvdcore.runtime.affinity import BINDINGS
from hvdcore.runtime.environment import BIND
from hvdcore.runtime.world import is_single_slurm_task, slurm_tasks

__all__ = ["StartOptions"]


@dataclass(frozen=True)
class StartOptions:
    """Where the ranks of a command run, as given on the command line; None where not given."""

    np: int | None = None
    hosts: str | None = None
    stall_timeout: float | str | None = None
    hostfile: Path | None = None
    max_restarts: int | None = None
    min_np: int | None = None
    max_np: int | None = None
    host_discovery_script: Path | None = None
    elastic_timeout: float | None = None
    ray: str | None = None
    cpus_per_rank: int | None = None
    gpus_per_rank: int | None = None
    bind_to: str | None = None

    @classmethod
    def take(cls, flags: dict[str, Any]) -> StartOptions:
        """Take what is ours out of a command's flags; what it does not have is not given."""
        return cls(**{field.name: flags.pop(field.name, None) for field in fields(cls)})

    @property
    def stall_timeout_seconds(self) -> float | None:
        """The stall timeout as a number; None where it was not given.

        Raises:
            UserError: it is text that is no number, which the option parser accepts.
        """
        try:
            return None if self.stall_timeout is None else float(self.stall_timeout)
        except ValueError:
            text = f"got {self.stall_timeout!r}; give a number of seconds"
            raise UserError(f"stall_timeout: {text}") from None

    @property
    def is_elastic(self) -> bool:
        """Whether hosts may leave and join."""
        return self.min_np is not None or self.host_discovery_script is not None

    @property
    def may_start_again(self) -> bool:
        """Whether there may be more than one job."""
        return self.is_elastic or bool(self.max_restarts)

    @property
    def needs_launcher(self) -> bool:
        """Whether there is more than a single rank in this process to be started: asked for, or
        the tasks of a Slurm allocation.

        Raises:
            UserError: Slurm's variables cannot be read.
        """
        # Whoever starts one task by srun and asks for nothing means one rank.
        alone = is_single_slurm_task(os.environ)
        found = 1 if alone else sum(slurm_tasks(os.environ).values())
        ranks = found if self.np is None else self.np
        several = ranks > 1 or self.hosts is not None or self.hostfile is not None
        elsewhere = self.ray is not None
        return several or elsewhere or self.may_start_again or self.max_np is not None

    def tell_ranks(self) -> None:
        """Set the environment variables of this process that its ranks, or it as one, read."""
        if self.bind_to is not None:
            os.environ[BIND] = self.bind_to

    def check(self) -> None:
        """Look at the options as a whole.

        Raises:
            UserError: they contradict each other; all problems at once.
        """
        problems = Problems()
        elastic = "give --min-np as well, which makes the run elastic"
        if self.max_np is not None and not self.is_elastic:
            problems.add("--max-np", elastic)
        if self.elastic_timeout is not None and not (self.is_elastic or self.ray):
            problems.add("--elastic-timeout", elastic)
        if self.is_elastic and self.np is not None:
            problems.add(
                "--np", "an elastic run has no fixed size; give only --min-np and --max-np"
            )
        if self.min_np is not None and self.max_np is not None and self.max_np < self.min_np:
            problems.add("--max-np", f"got {self.max_np}, below --min-np {self.min_np}")
        if self.host_discovery_script is not None and (self.hosts or self.hostfile):
            problems.add("--host-discovery-script", "give it or --hosts/--hostfile, not both")
        if self.elastic_timeout is not None and not self.elastic_timeout > 0:
            problems.add("--elastic-timeout", f"got {self.elastic_timeout:g}; give seconds above 0")
        if self.bind_to is not None and self.bind_to not in BINDINGS:
            problems.add("--bind-to", f"got {self.bind_to!r}; give {', '.join(BINDINGS)}")
        self._check_ray(problems)
        problems.raise_if_any()

    def _check_ray(self, problems: Problems) -> None:
        hosts = (self.hosts, self.hostfile, self.host_discovery_script)
        if self.ray is not None and any(hosts):
            problems.add("--ray", "Ray knows its nodes; leave out the options that name hosts")
        for option, value in (
            ("--cpus-per-rank", self.cpus_per_rank), ("--gpus-per-rank", self.gpus_per_rank)
        ):  # fmt: skip
            if value is not None and self.ray is None:
                problems.add(option, "give --ray as well, whose cluster provides them")
        if (self.gpus_per_rank or 0) > 1:
            problems.add(
                "--gpus-per-rank", f"got {self.gpus_per_rank}; a rank uses one; give 0 or 1"
            )
