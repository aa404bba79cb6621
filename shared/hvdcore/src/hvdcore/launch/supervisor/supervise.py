"""From a process to a rank: under a supervisor in a job of several, in place when alone.

`python -m hvdcore.launch.supervisor.supervise WORD` is the supervisor of a rank; the word is its
encoded command.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable

from hvdcore.errors import EXIT_USER_ERROR, UserError, printable, without_passwords
from hvdcore.launch.hosts.remote_shell import decode_command
from hvdcore.launch.supervisor.channel import connect_to_launcher
from hvdcore.launch.supervisor.outcome import EXIT_FAILED, RankEnd
from hvdcore.launch.supervisor.supervisor import Supervisor
from hvdcore.runtime.environment import (
    EXPECTED_SIZE,
    MONITOR,
    PREPARED,
    SUPERVISED,
    prepare_environment,
)
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.terminal import write_fd
from hvdcore.runtime.world import World, check_size, world_from_environment
from hvdcore.tracking.logs import LOG_ONLY

__all__ = [
    "check_launcher",
    "run_as_rank",
    "supervise",
]

_LAUNCHER_SECONDS = 5.0
# With these a process is under way, or is not ours to start again: a notebook, a test run.
_TOO_LATE = {"numpy", "torch", "tensorflow", "ipykernel", "pytest"}


def run_as_rank(main: Callable[[], int | None]) -> int:
    """Run `main` as this process's part of the job, and return the exit code for the process.

    Every command that trains calls it, on every rank, before a framework is loaded. As a rank of
    two or more, under any launcher, the process becomes the supervisor of a copy of itself, which
    runs `main`; as a single rank it runs `main` here, after one exec if threads or malloc still
    had to be set (not in a notebook, nor once numpy or a framework is loaded). A UserError of
    `main` becomes `error: ...` and exit code 2; under a supervisor any other exception becomes one
    line for the user, its traceback in the rank's log, and 1.

    Example::

        def train() -> int: ...
        sys.exit(run_as_rank(train))
    """
    if os.environ.get(SUPERVISED):
        beat("start")
        return _guarded(main, supervised=True)
    try:
        world = world_from_environment()
    except UserError as error:
        return _show(error)
    if world.size > 1:
        try:
            check_launcher(world)
        except UserError as error:
            return _show(error)
        return supervise(_this_command(), world)
    if not os.environ.get(PREPARED):
        os.environ[PREPARED] = "1"
        if prepare_environment(world, os.environ) and not _TOO_LATE & sys.modules.keys():
            sys.stdout.flush()
            sys.stderr.flush()
            os.execv(sys.executable, _this_command())

    def checked() -> int | None:
        check_size(world, _expected_size())
        return main()

    return _guarded(checked, supervised=False)


def check_launcher(world: World) -> None:
    """Check that the launcher is there whose variables this process found.

    Variables that are left over from another job would have it wait for other ranks in vain.

    Raises:
        UserError: there is none.
    """
    env = os.environ
    if world.controller != "gloo" or env.get(MONITOR):
        return
    names = " and ".join(f"{name}={env[name]}" for name in ("HOROVOD_RANK", "HOROVOD_SIZE"))
    fix = "unset HOROVOD_RANK and HOROVOD_SIZE to run one rank, or give --np to start several"
    address, port = (env.get(f"HOROVOD_GLOO_RENDEZVOUS_{name}", "") for name in ("ADDR", "PORT"))
    if not address or not port.isdecimal():
        raise UserError(f"{names}: set, but no launcher started this process; {fix}")
    try:
        socket.create_connection((address, int(port)), _LAUNCHER_SECONDS).close()
    except ConnectionRefusedError:
        where = f"{address}:{port} (HOROVOD_GLOO_RENDEZVOUS_ADDR)"
        raise UserError(f"{names}: left from another job: no launcher at {where}; {fix}") from None
    except (OSError, OverflowError):
        return  # a slow network; Horovod has time-outs of its own


def _this_command() -> list[str]:
    return [sys.executable, *sys.orig_argv[1:]]


def _expected_size() -> int | None:
    text = os.environ.get(EXPECTED_SIZE, "")
    return int(text) if text.isdigit() else None


def _show(error: UserError) -> int:
    lines = "".join(f"error: {printable(problem)}\n" for problem in error.problems)
    write_fd(2, lines.encode("utf-8", "backslashreplace"))
    return EXIT_USER_ERROR


def _guarded(main: Callable[[], int | None], *, supervised: bool) -> int:
    try:
        return main() or 0
    except UserError as error:
        return _show(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:  # whatever the trainer raised: this is the last frame of the rank
        if not supervised:
            raise
        sys.stdout.flush()
        # The traceback is for the log; the user gets the one line that the supervisor makes of it.
        lines = without_passwords(traceback.format_exc()).splitlines()
        write_fd(2, "".join(f"{LOG_ONLY}{line}\n" for line in lines).encode("utf-8", "replace"))
        return EXIT_FAILED


def supervise(command: list[str], world: World) -> int:
    """Run `command` as the work of a rank and return this process's exit code.

    The code is 0, 1 (failed), 2 (the user's error), 130 or 143 (stopped on request).
    """
    line = None
    try:
        line = connect_to_launcher(world)
        check_size(world, _expected_size())
        return Supervisor(world, line).run(command)
    except UserError as error:
        errors = tuple(f"error: {printable(problem)}" for problem in error.problems)
        if line is not None and line.channel is not None:
            line.send_end(RankEnd(world.rank, EXIT_USER_ERROR, "input", errors=errors))
            return EXIT_USER_ERROR
        return _show(error) if world.is_root or line is None else EXIT_USER_ERROR


def main() -> int:
    """Become the supervisor of the rank that runs the encoded command."""
    from hvdcore.runtime.world import world_from_environment

    return supervise(decode_command(sys.argv[1]), world_from_environment())


if __name__ == "__main__":
    sys.exit(main())
