"""What a process forked from a running Horovod may do: ask for its place, and nothing else.

Threads do not survive a fork, so a forked process, a DataLoader worker for instance, has no
background thread: an operation that it started would never end, and shutting down would wait for
ever. It may still ask for rank, size and the like, as scripts do to seed their workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from horovod.common import library

_QUERIES = (
    "horovod_is_initialized",
    "horovod_rank",
    "horovod_size",
    "horovod_local_rank",
    "horovod_local_size",
    "horovod_cross_rank",
    "horovod_cross_size",
    "horovod_is_homogeneous",
)

MESSAGE = (
    "this process was forked from one in which Horovod runs, so it cannot take part in Horovod's"
    " operations: communicate in the parent, or start the process by multiprocessing's 'spawn'"
)


class _State:
    answers: dict[str, int] | None = None  # in a forked process: what the parent's queries gave
    before: dict[str, int] | None = None
    when_forked: list[Callable[[], None]] = []  # noqa: RUF012


def forked() -> bool:
    """Whether this process was forked from one in which Horovod ran."""
    return _State.answers is not None


def query(name: str) -> int:
    """The value of the C function `name`, which takes nothing; in a forked process the parent's."""
    if _State.answers is not None and name in _State.answers:
        return _State.answers[name]
    return getattr(library.load(), name)()


def when_forked(function: Callable[[], None]) -> None:
    """Has `function` called in each process that is forked while Horovod runs."""
    _State.when_forked.append(function)


def check() -> None:
    """Raises RuntimeError in a forked process."""
    if _State.answers is not None:
        raise RuntimeError(MESSAGE)


def _before() -> None:
    _State.before = None
    if library.load.cache_info().currsize and query("horovod_is_initialized"):
        _State.before = {name: query(name) for name in _QUERIES}


def _in_child() -> None:
    _State.answers = _State.before
    if _State.answers is not None:
        for function in _State.when_forked:
            function()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_child=_in_child)
