"""Owns the way from a command line to ranks: the one code path of every verb that uses Horovod."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from hvdcore.errors import UserError
from hvdcore.launch.job.job import JobSettings
from hvdcore.launch.options import StartOptions
from hvdcore.launch.run import launch_on_hosts
from hvdcore.launch.supervisor.supervise import EXPECTED_SIZE, run_as_rank
from hvdcore.run.run_dir import default_run_dir
from hvdcore.runtime.world import check_size, world_from_environment

__all__ = ["run_on_ranks"]


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
        output_dir: the run's directory; None lets a run that is started again have one of its own.
        check: raises UserError if the input is wrong; called before ranks are started, so that
            wrong input costs no start. The ``global_batch_size`` of a configuration that it
            returns is what the number of ranks must divide.

    Returns:
        The exit code.

    Raises:
        UserError: the launcher started another number of ranks than asked for, or ``check`` or
            the hosts are not fit.
    """
    world = world_from_environment()
    if world.controller != "none":
        # Our launcher says itself how many there are to be: a restart may have fewer.
        check_size(world, None if EXPECTED_SIZE in os.environ else start.np)
        return run_as_rank(main)
    start.check()
    config = check() if check is not None else None
    if not start.needs_launcher:
        return run_as_rank(main)
    command = [sys.executable, "-m", program, *sys.argv[1:]]
    if output_dir is None and start.may_start_again:
        command += ["--output-dir", str(default_run_dir(program))]
    return launch_on_hosts(
        command,
        start,
        JobSettings(stall_timeout_seconds=_seconds(start.stall_timeout)),
        package=program,
        global_batch_size=getattr(config, "global_batch_size", None),
    )


def _seconds(stall_timeout: float | str | None) -> float | None:
    # The options let text that is no number through, so that all problems are told at once.
    try:
        return None if stall_timeout is None else float(stall_timeout)
    except ValueError:
        raise UserError(f"stall_timeout: got {stall_timeout!r}; give a number of seconds") from None
