"""Owns the choice between one job and a run over several: what the command line asked for."""

from __future__ import annotations

import os
from functools import partial

from hvdcore.launch.elastic.agent import Agent
from hvdcore.launch.elastic.plan import make_plan
from hvdcore.launch.hosts.check import look_at_fleet
from hvdcore.launch.hosts.named import named_hosts
from hvdcore.launch.job.job import JobSettings
from hvdcore.launch.launch import launch
from hvdcore.launch.options import StartOptions

__all__ = ["launch_on_hosts"]


def launch_on_hosts(
    command: list[str],
    start: StartOptions,
    settings: JobSettings,
    *,
    package: str = "hvdcore",
    global_batch_size: int | None = None,
) -> int:
    """Run a command on the hosts that the options mean, as often as they allow.

    Args:
        package: the distribution that has to be the same on every host.
        global_batch_size: the number of ranks must divide it; None asks for nothing.

    Returns:
        The exit code; see `launch`.

    Raises:
        UserError: the options, the hosts or the controller cannot work here.
    """
    start.check()
    if start.ray is not None:
        from hvdcore.launch.ray.launch import launch_on_ray

        return launch_on_ray(command, start, settings, package, global_batch_size)
    if not start.may_start_again:
        where = named_hosts(start.np, start.hosts, start.hostfile, os.environ)
        return launch(
            command,
            start.np or where.num_slots,
            where,
            controller=settings.controller,
            stall_timeout_seconds=settings.stall_timeout_seconds,
            start_timeout_seconds=settings.start_timeout_seconds,
            log_dir=settings.log_dir,
            package=package,
        )
    settings.check()
    plan = make_plan(start, os.environ, global_batch_size)
    return Agent(command, plan, settings, partial(look_at_fleet, package=package)).run()
