"""Owns the way from a command line to ranks: the one code path of every verb that uses Horovod."""

from __future__ import annotations

import sys
from collections.abc import Callable

from hvdcore.errors import UserError
from hvdcore.launch import launch
from hvdcore.supervise import run_as_rank
from hvdcore.world import check_size, world_from_environment

__all__ = ["run_on_ranks"]


def run_on_ranks(
    program: str,
    main: Callable[[], int | None],
    *,
    np: int | None,
    hosts: str | None = None,
    stall_timeout: float | None = None,
    check: Callable[[], object] | None = None,
) -> int:
    """Run ``main`` as this process's rank, or start this command again on ``np`` ranks.

    Under a launcher (horovodrun, mpirun, srun, or our own) the process is a rank, and ``np`` is
    what it expects to find. With none and ``np`` above 1 the same command line is started on that
    many ranks, which then come by here as ranks. With neither there is one rank.

    Args:
        program: the module that ``python -m`` runs, such as ``textgen``.
        main: the work of a rank; may load frameworks.
        np, hosts, stall_timeout: the shared options, None where not given.
        check: raises UserError if the input is wrong; called before ranks are started, so that
            wrong input costs no start.

    Returns:
        The exit code.

    Raises:
        UserError: the launcher started another number of ranks than ``np``, or ``check`` says so.
    """
    world = world_from_environment()
    if world.controller != "none":
        check_size(world, np)
        return run_as_rank(main)
    if check is not None:
        check()
    if (np or 1) == 1 and hosts is None:
        return run_as_rank(main)
    command = [sys.executable, "-m", program, *sys.argv[1:]]
    return launch(command, _count(np, hosts), hosts, stall_timeout_seconds=_seconds(stall_timeout))


def _seconds(stall_timeout: float | str | None) -> float | None:
    # The options let text that is no number through, so that all problems are told at once.
    try:
        return None if stall_timeout is None else float(stall_timeout)
    except ValueError:
        raise UserError(f"stall_timeout: got {stall_timeout!r}; give a number of seconds") from None


def _count(np: int | None, hosts: str | None) -> int:
    """``np``, or all slots of the hosts."""
    if np is not None:
        return np
    slots = [part.rpartition(":")[2] for part in (hosts or "").split(",")]
    if not all(slot.isdigit() for slot in slots):
        raise UserError(f"hosts: {hosts!r} names no slots; give name:slots,... or --np")
    return sum(map(int, slots))
