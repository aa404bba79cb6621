"""Launching a command on ranks: the entry points of every command line that uses Horovod.

The way of `--np 2`: `run_on_ranks` is called by a trainer's command; with no launcher around it, it
starts the same command line on ranks (`launch_on_hosts`, `launch`, `job.job.run_job`). Each rank
then comes by `run_on_ranks` again, and `supervisor.supervise.run_as_rank` runs its work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hvdcore.launch.elastic.agent import Agent
from hvdcore.launch.elastic.plan import make_plan
from hvdcore.launch.hosts.check import check_fleet, inspect_fleet, show_fleet
from hvdcore.launch.hosts.hosts import Hosts, named_hosts
from hvdcore.launch.job.controllers import ControllerChoice
from hvdcore.launch.job.job import DEFAULT_START_TIMEOUT_SECONDS, JobSettings, run_job
from hvdcore.launch.options import StartOptions
from hvdcore.launch.supervisor.supervise import check_launcher, run_as_rank
from hvdcore.run.run_dir import default_run_dir
from hvdcore.runtime.environment import EXPECTED_SIZE, SUPERVISED, python_module
from hvdcore.runtime.horovod_settings import check_settings
from hvdcore.runtime.signals import SignalInbox
from hvdcore.runtime.world import check_size, world_from_environment

__all__ = ["launch", "launch_on_hosts", "run_on_ranks", "run_on_ray"]


def launch(
    command: list[str],
    np: int,
    hosts: str | Hosts | None = None,
    *,
    controller: ControllerChoice = "auto",
    stall_timeout_seconds: float | None = None,
    start_timeout_seconds: float = DEFAULT_START_TIMEOUT_SECONDS,
    log_dir: Path | None = None,
    package: str = "hvdcore",
) -> int:
    """Run `command` as `np` ranks and return the exit code for this process.

    Call it in the main thread of a process that is no rank. Rank 0's output goes to our own; what
    the other ranks print goes to their logs, warnings to both.

    Args:
        command: program and arguments; they reach every rank byte for byte, unread by any shell.
        np: number of ranks. More than there are cores is allowed.
        hosts: `name:slots,name:slots`; None means this machine. Hosts elsewhere are asked first
            whether they are fit.
        controller: 'auto' takes MPI where it works, else Gloo.
        stall_timeout_seconds: a rank that gives no heartbeat for so long is given up; None
            takes HVDCORE_STALL_TIMEOUT, else 300.
        start_timeout_seconds: all ranks must have started by then.
        log_dir: where `rank-N.log` goes; None leaves it to the command (its run directory).
        package: the distribution that runs; it has to be the same on every host.

    Returns:
        0 done; 1 failed, and a line on stderr names the rank and its log; 2 the input is wrong;
        143 or 130 stopped by SIGTERM or SIGINT, after the ranks could save a checkpoint.

    Raises:
        UserError: hosts, np or the controller cannot work here.
    """
    settings = JobSettings(controller, stall_timeout_seconds, start_timeout_seconds, log_dir)
    settings.check()
    if isinstance(hosts, Hosts):
        hosts.require_slots(np)
    where = hosts if isinstance(hosts, Hosts) else named_hosts(np, hosts)
    fleet = check_fleet(where, package)
    show_fleet(fleet)
    with SignalInbox() as inbox:
        return run_job(command, np, fleet, settings, inbox).code


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
    check_settings(os.environ)
    start.tell_ranks()
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
    return Agent(command, plan, settings, partial(inspect_fleet, package=package)).run()


def run_on_ray(
    command: list[str],
    np: int | None = None,
    address: str = "auto",
    *,
    cpus_per_rank: int | None = None,
    gpus_per_rank: int | None = None,
    max_restarts: int | None = None,
    min_np: int | None = None,
    max_np: int | None = None,
    timeout_seconds: float | None = None,
) -> int:
    """Run `command` as ranks on a Ray cluster and return the exit code; see `launch`.

    Call it in the main thread of a process on a node of the cluster that is no rank.

    Args:
        command: program and arguments.
        np: number of ranks; None takes as many as there are free slots.
        address: `HOST:PORT` of the cluster's head; 'auto' is that of RAY_ADDRESS or this host's.
        cpus_per_rank: CPUs reserved per rank; None is 1.
        gpus_per_rank: 0 or 1; None is 1 where the cluster has any.
        max_restarts: restarts after a failure, on the remaining nodes, from the newest checkpoint.
        min_np: makes the run elastic, in place of `np`; see `--min-np`.
        max_np: largest number of ranks of an elastic run.
        timeout_seconds: how long to wait for free resources.

    Raises:
        UserError: no cluster answers, it has too few resources, or Ray is not installed.

    Example:
        >>> command = ["textgen", "train", "--output-dir", "/shared/runs/first"]
        >>> run_on_ray(command, np=4)  # doctest: +SKIP
        0
    """
    start = StartOptions(
        np=np, ray=address, cpus_per_rank=cpus_per_rank, gpus_per_rank=gpus_per_rank,
        max_restarts=max_restarts, min_np=min_np, max_np=max_np, elastic_timeout=timeout_seconds,
    )  # fmt: skip
    return launch_on_hosts(command, start, JobSettings())


def run_on_ranks(
    program: str,
    main: Callable[[], int | None],
    start: StartOptions,
    *,
    output_dir: Path | None = None,
    check: Callable[[], object] | None = None,
) -> int:
    """Run ``main`` as this process's rank, or start this command again on ranks.

    Under a launcher (horovodrun, mpirun, srun, or our own) the process is a rank, and ``start.np``
    is what it expects to find. With none and more than one rank, another host or restarts asked
    for, the same command line is started on ranks, which then come by here. With neither there is
    one rank.

    Args:
        program: the module that ``python -m`` runs, such as ``textgen``.
        main: the work of a rank; may load frameworks.
        start: where ranks run, and how often they are started.
        output_dir: the run's directory; with None a run that may be restarted gets one of its own.
        check: raises UserError if the input is wrong; called before ranks are started, so that
            wrong input costs no start. The ``global_batch_size`` of a configuration that it
            returns is what the number of ranks must divide.

    Returns:
        The exit code.

    Raises:
        UserError: the launcher started another number of ranks than asked for, or ``check`` or
            the hosts are not fit.
    """
    start.tell_ranks()
    check_settings(os.environ)
    world = world_from_environment()
    if world.controller != "none":
        is_rank = world.size > 1 or start.np not in (None, 1)
        if is_rank and not os.environ.get(SUPERVISED):
            check_launcher(world)
        # Our launcher says itself how many there are to be: a restart may have fewer.
        check_size(world, None if EXPECTED_SIZE in os.environ else start.np)
        return run_as_rank(main)
    start.check()
    config = check() if check is not None else None
    if not start.needs_launcher:
        return run_as_rank(main)
    command = [*python_module(program), *sys.argv[1:]]
    if output_dir is None and start.may_start_again:
        command += ["--output-dir", str(default_run_dir(program))]
    return launch_on_hosts(
        command,
        start,
        JobSettings(stall_timeout_seconds=start.stall_timeout_seconds),
        package=program,
        global_batch_size=getattr(config, "global_batch_size", None),
    )
