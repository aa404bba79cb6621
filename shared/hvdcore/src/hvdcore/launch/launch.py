"""Owns launching a job once: N ranks of one command through horovodrun, to one exit code."""

from __future__ import annotations

from pathlib import Path

from hvdcore.launch.hosts.check import Fleet, check_fleet
from hvdcore.launch.hosts.hosts import Hosts
from hvdcore.launch.hosts.named import named_hosts
from hvdcore.launch.job.controllers import ControllerChoice
from hvdcore.launch.job.job import DEFAULT_START_TIMEOUT_SECONDS, JobSettings, run_job
from hvdcore.launch.supervisor.output import write_fd
from hvdcore.runtime.signal_inbox import SignalInbox

__all__ = ["launch", "show_fleet"]


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
        stall_timeout_seconds: a rank that gives no sign of life for so long is given up; None
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


def show_fleet(fleet: Fleet) -> None:
    """Tell the user, on stderr, what was found on each host that was asked."""
    write_fd(2, "".join(f"{line}\n" for line in fleet.lines()).encode())
