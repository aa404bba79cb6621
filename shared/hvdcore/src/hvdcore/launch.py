"""Owns starting a job: N ranks of one command through horovodrun, to one exit code."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

from hvdcore.channel import MONITOR, Listener
from hvdcore.controllers import ControllerChoice, choose_controller
from hvdcore.environment import STALL_TIMEOUT, stall_timeout
from hvdcore.errors import UserError
from hvdcore.horovodrun import Horovodrun, clean_environment, horovodrun_command
from hvdcore.hosts import parse_hosts
from hvdcore.leftovers import JOB, end_leftovers
from hvdcore.monitor import Monitor
from hvdcore.rank_output import write_fd
from hvdcore.running_job import RunningJob
from hvdcore.signal_inbox import SignalInbox
from hvdcore.supervise import EXPECTED_SIZE
from hvdcore.supervisor import LOG_DIR
from hvdcore.terminal import share_terminal

__all__ = ["launch"]

DEFAULT_START_TIMEOUT_SECONDS = 300.0


def launch(
    command: list[str],
    np: int,
    hosts: str | None = None,
    *,
    controller: ControllerChoice = "auto",
    stall_timeout_seconds: float | None = None,
    start_timeout_seconds: float = DEFAULT_START_TIMEOUT_SECONDS,
    log_dir: Path | None = None,
) -> int:
    """Run `command` as `np` ranks and return the exit code for this process.

    Call it in the main thread of a process that is no rank. Rank 0's output goes to our own; what
    the other ranks print goes to their logs, warnings to both.

    Args:
        command: program and arguments; they reach every rank byte for byte, unread by any shell.
        np: number of ranks. More than there are cores is allowed.
        hosts: `name:slots,name:slots`; None means this machine.
        controller: 'auto' takes MPI where it works, else Gloo.
        stall_timeout_seconds: a rank that gives no sign of life for so long is given up; None
            takes HVDCORE_STALL_TIMEOUT, else 300.
        start_timeout_seconds: all ranks must have started by then.
        log_dir: where `rank-N.log` goes; None leaves it to the command (its run directory).

    Returns:
        0 done; 1 failed, and a line on stderr names the rank and its log; 2 the input is wrong;
        143 or 130 stopped by SIGTERM or SIGINT, after the ranks could save a checkpoint.

    Raises:
        UserError: hosts, np or the controller cannot work here.
    """
    stall = stall_timeout(os.environ) if stall_timeout_seconds is None else stall_timeout_seconds
    if not stall > 0:
        raise UserError(f"--stall-timeout: got {stall:g}; give seconds above 0")
    where = parse_hosts(hosts, np)
    kind = choose_controller(controller)
    starter = horovodrun_command(np, where, kind, start_timeout_seconds, command)
    env = _rank_environment(np, stall, log_dir)
    # Short, and not under a deep TMPDIR: sockets in it have at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="hvdcore-", dir=_short_temporary_folder()))
    try:
        address = where.our_address()
        listener = Listener(folder, address)
        if address is None:
            # What mpirun would leave in /tmp after a hard end goes with our folder.
            env.setdefault("OMPI_MCA_orte_tmpdir_base", str(folder))
        env[MONITOR] = listener.address
        monitor = Monitor(listener, np, stall, write_fd)
        try:
            with SignalInbox() as inbox:
                job = RunningJob(Horovodrun(starter, env), monitor, inbox, start_timeout_seconds)
                return job.run()
        finally:
            monitor.close()
            end_leftovers(JOB, env[JOB])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _short_temporary_folder() -> str | None:
    folder = tempfile.gettempdir()
    return folder if len(folder) < 40 or not os.access("/tmp", os.W_OK) else "/tmp"


def _rank_environment(np: int, stall: float, log_dir: Path | None) -> dict[str, str]:
    env = clean_environment(os.environ)
    env.update({EXPECTED_SIZE: str(np), STALL_TIMEOUT: f"{stall:g}"})
    env[JOB] = secrets.token_hex(8)
    # A scheduler's SIGTERM reaches mpirun too, which would kill the ranks one second later.
    env.setdefault("OMPI_MCA_odls_base_sigkill_timeout", "60")
    if log_dir is not None:
        env[LOG_DIR] = str(log_dir.resolve())
    share_terminal(env)
    return env
