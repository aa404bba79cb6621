"""Starting Horovod in a process, for either framework."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from hvdcore.errors import UserError
from hvdcore.runtime.environment import EXPECTED_SIZE, STALL_CHECK, horovod_stall_check
from hvdcore.runtime.world import Controller, World, check_size, world_from_environment

__all__ = ["running_world", "start_horovod"]


def start_horovod(hvd: Any, settings: Mapping[str, str] | None = None) -> World:
    """Start `hvd`, which is `horovod.torch` or `horovod.tensorflow`; every rank must call.

    With no launcher this is Horovod with one rank. The environment is afterwards as it was, so
    that a job which this process starts later chooses its controller for itself.

    Args:
        settings: environment variables for Horovod alone, such as HOROVOD_TIMELINE.

    Raises:
        UserError: fewer or more ranks came up than the launcher was asked for or has started.
    """
    launched = world_from_environment()
    # A rank with heartbeats is judged by them: others may wait long for one that is at work.
    unwanted = horovod_stall_check(1) if os.environ.get(STALL_CHECK) else {}
    with _variables({**dict.fromkeys(unwanted), **(settings or {})}):
        hvd.init()
    world = running_world(hvd)
    if expected := os.environ.get(EXPECTED_SIZE):
        check_size(world, int(expected))
    if world.size != launched.size:
        raise UserError(
            f"HOROVOD_CONTROLLER: the launcher started {launched.size} ranks, but this one came up "
            f"in a job of {world.size}, as if no launcher were there; unset HOROVOD_CONTROLLER and "
            "HOROVOD_CPU_OPERATIONS"
        )
    return world


def running_world(hvd: Any) -> World:
    """The World of a Horovod that has been started."""
    return World(
        rank=hvd.rank(),
        size=hvd.size(),
        local_rank=hvd.local_rank(),
        local_size=hvd.local_size(),
        controller=_controller(hvd),
    )


def _controller(hvd: Any) -> Controller:
    if hvd.size() == 1 and world_from_environment().controller == "none":
        return "none"
    return "mpi" if hvd.mpi_enabled() else "gloo"


@contextlib.contextmanager
def _variables(wanted: Mapping[str, str | None]) -> Iterator[None]:
    """Inside, the environment has these values; None is for a variable that is not set."""
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
