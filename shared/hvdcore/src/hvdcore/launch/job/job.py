"""Owns one job on hosts that were found fit: N ranks of one command, from start to end."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hvdcore.errors import UserError
from hvdcore.launch.hosts.check import Fleet
from hvdcore.launch.hosts.network import NETWORKS
from hvdcore.launch.hosts.remote_shell import srun_environment, uses_srun
from hvdcore.launch.job.controllers import ControllerChoice, choose_controller
from hvdcore.launch.job.horovodrun import Horovodrun, clean_environment, horovodrun_command
from hvdcore.launch.job.monitor import Monitor
from hvdcore.launch.job.open_mpi_daemon import DAEMON, daemon_environment
from hvdcore.launch.job.running import JobEnd, RunningJob, Starter
from hvdcore.launch.supervisor.channel import MONITOR, Listener
from hvdcore.launch.supervisor.leftovers import JOB, end_leftovers
from hvdcore.launch.supervisor.output import write_fd
from hvdcore.launch.supervisor.supervise import EXPECTED_SIZE
from hvdcore.launch.supervisor.supervisor import LOG_DIR
from hvdcore.runtime.environment import RESTART, STALL_TIMEOUT, stall_timeout
from hvdcore.runtime.signal_inbox import SignalInbox
from hvdcore.runtime.terminal import share_terminal

__all__ = [
    "DEFAULT_START_TIMEOUT_SECONDS",
    "JobSettings",
    "StartRanks",
    "run_job",
    "start_with_horovodrun",
]

DEFAULT_START_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class JobSettings:
    """How jobs are started and watched; see `launch`."""

    controller: ControllerChoice = "auto"
    stall_timeout_seconds: float | None = None
    start_timeout_seconds: float = DEFAULT_START_TIMEOUT_SECONDS
    log_dir: Path | None = None

    @property
    def stall(self) -> float:
        """The stall time-out in seconds.

        Raises:
            UserError: it is not above 0.
        """
        given = self.stall_timeout_seconds
        seconds = stall_timeout(os.environ) if given is None else given
        if not seconds > 0:
            raise UserError(f"--stall-timeout: got {seconds:g}; give seconds above 0")
        return seconds

    def check(self) -> None:
        """Look at the settings before anybody is asked anything.

        Raises:
            UserError: they cannot be.
        """
        _ = self.stall


StartRanks = Callable[[list[str], int, Fleet, JobSettings], Callable[[Mapping[str, str]], Starter]]
"""Looks whether the ranks can be started so; the answer starts them, in an environment."""


def start_with_horovodrun(
    command: list[str], np: int, fleet: Fleet, settings: JobSettings
) -> Callable[[Mapping[str, str]], Starter]:
    """The ranks through horovodrun, over MPI or Gloo.

    Raises:
        UserError: the controller cannot work here.
    """
    kind, seconds = choose_controller(settings.controller), settings.start_timeout_seconds
    # MPI takes networks, whatever their interfaces are called on each host; Gloo's launcher wants
    # the name here, and the ranks put in the one there.
    interfaces = fleet.our_interface and (fleet.networks if kind == "mpi" else fleet.our_interface)
    line = horovodrun_command(np, fleet.hosts, kind, seconds, command, interfaces)
    return lambda env: Horovodrun(line, env)


def run_job(
    command: list[str],
    np: int,
    fleet: Fleet,
    settings: JobSettings,
    inbox: SignalInbox,
    *,
    drain: Callable[[], bool] | None = None,
    restart: int = 0,
    start_ranks: StartRanks = start_with_horovodrun,
) -> JobEnd:
    """Run `command` as `np` ranks on the hosts of `fleet`, once.

    Args:
        drain: asked again and again; True asks the ranks to save and stop.
        restart: how often this job was started before.

    Raises:
        UserError: the ranks cannot be started so.
    """
    start, stall = start_ranks(command, np, fleet, settings), settings.stall
    env = _rank_environment(np, stall, settings.log_dir, fleet, restart)
    # Short, and not under a deep TMPDIR: sockets in it have at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="hvdcore-", dir=_short_temporary_folder()))
    try:
        address = fleet.address or fleet.hosts.our_address()
        listener = Listener(folder, address)
        if address is None:
            # What mpirun would leave in /tmp after a hard end goes with our folder.
            env.setdefault("OMPI_MCA_orte_tmpdir_base", str(folder))
            # One task of Slurm's may have the cores for many ranks.
            env.setdefault("OMPI_MCA_ras", "^slurm")
        elif uses_srun(fleet.hosts.slots, os.environ):
            env.update(srun_environment(folder, env))
        env[MONITOR] = listener.address
        monitor = Monitor(listener, np, stall, write_fd)
        try:
            seconds = settings.start_timeout_seconds
            return RunningJob(start(env), monitor, inbox, seconds, drain).run()
        finally:
            monitor.close()
            end_leftovers(JOB, env[JOB])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _short_temporary_folder() -> str | None:
    folder = tempfile.gettempdir()
    return folder if len(folder) < 40 or not os.access("/tmp", os.W_OK) else "/tmp"


def _rank_environment(
    np: int, stall: float, log_dir: Path | None, fleet: Fleet, restart: int
) -> dict[str, str]:
    env = clean_environment(os.environ)
    env.update({EXPECTED_SIZE: str(np), STALL_TIMEOUT: f"{stall:g}"})
    env[JOB] = secrets.token_hex(8)
    if restart:
        env[RESTART] = str(restart)
    if fleet.networks:
        env[NETWORKS] = fleet.networks
        env["OMPI_MCA_oob_tcp_if_include"] = fleet.networks
        # Open MPI cuts a name at its first dot, and in Kubernetes nobody is called what is left.
        env["OMPI_MCA_orte_keep_fqdn_hostnames"] = "1"
        env.update(_open_mpi_elsewhere())
    # A scheduler's SIGTERM reaches mpirun too, which would kill the ranks one second later.
    env.setdefault("OMPI_MCA_odls_base_sigkill_timeout", "60")
    if log_dir is not None:
        env[LOG_DIR] = str(log_dir.resolve())
    share_terminal(env)
    return env


def _open_mpi_elsewhere() -> dict[str, str]:
    """What Open MPI needs to find itself on another host, when it is this Python's own.

    There mpirun looks for its daemon on the PATH of a login, and a relocated Open MPI, such as the
    wheel's, knows its place only by OPAL_PREFIX, which its mpirun sets here alone.
    """
    own = daemon_environment()
    if not own:
        return {}
    prefix = own["OPAL_PREFIX"]
    agent = shlex.join(["env", f"OPAL_PREFIX={prefix}", f"{prefix}/bin/{DAEMON}"])
    return {**own, "OMPI_MCA_orte_launch_agent": agent}
