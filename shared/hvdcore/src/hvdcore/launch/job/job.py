"""One job on checked hosts: N ranks of one command, from the start to the verdict."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hvdcore.errors import EXIT_USER_ERROR, UserError
from hvdcore.files.atomic import make_folder, temporary_folder
from hvdcore.launch.hosts.check import Fleet
from hvdcore.launch.hosts.remote_shell import srun_environment, uses_srun
from hvdcore.launch.job.controllers import ControllerChoice, choose_controller
from hvdcore.launch.job.horovodrun import Horovodrun, clean_environment, horovodrun_command
from hvdcore.launch.job.monitor import MAX_STRANGERS, Monitor, Verdict
from hvdcore.launch.job.open_mpi_daemon import DAEMON, daemon_environment
from hvdcore.launch.job.stacks import standing_line
from hvdcore.launch.supervisor.channel import Listener
from hvdcore.launch.supervisor.outcome import EXIT_FAILED
from hvdcore.launch.supervisor.processes import kill_orphans
from hvdcore.runtime.environment import (
    EXPECTED_SIZE,
    JOB,
    LAUNCH,
    LOG_DIR,
    MONITOR,
    NETWORKS,
    RESTART,
    STALL_CHECK,
    STALL_TIMEOUT,
    horovod_stall_check,
    stall_timeout,
)
from hvdcore.runtime.signals import SAME_SIGNAL_SECONDS, SignalInbox, wait_readable
from hvdcore.runtime.terminal import share_terminal, write_fd

__all__ = [
    "DEFAULT_START_TIMEOUT_SECONDS",
    "JobEnd",
    "JobSettings",
    "RunningJob",
    "StartRanks",
    "Starter",
    "run_job",
    "start_with_horovodrun",
]

_TICK_SECONDS = 0.2
_MAX_SECONDS = 1e8
_MAX_RANKS = 1 << 16
_ABORT_SECONDS = 5.0
_RANKS_OUTLIVE_LAUNCHER_SECONDS = 10.0
_SHARED_MEMORY = Path("/dev/shm")
_LAUNCH = secrets.token_hex(8)
_SSH_FAILED = "could not connect to some hosts via ssh"


class Starter(Protocol):
    """What has started the ranks of a job and holds their processes."""

    name: str
    """For the user."""
    hosts: str

    @property
    def sockets(self) -> list[int]:
        """What to wait on for news."""
        ...

    def hear(self) -> None:
        """Take in what it has to say; called at least five times a second."""
        ...

    def exit_code(self) -> int | None:
        """None while it holds ranks."""
        ...

    def last_words(self) -> list[str]:
        """Lines for the user when nothing else explains a failure."""
        ...

    def end(self) -> None:
        """End it and all that it started."""
        ...


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Attributes:
        code: the exit code.
        asked: a signal to the launcher ended it.
        drained: it was asked to save and stop so that another one can continue.
        blamed: ranks to blame for a failure.
        signaled: ranks that their own host asked to stop.
    """

    code: int
    asked: bool = False
    drained: bool = False
    blamed: tuple[int, ...] = ()
    signaled: tuple[int, ...] = ()


class RunningJob:
    """Runs to the end.

    Args:
        start_timeout: seconds within which all ranks have to call.
        drain: asked again and again; True asks the ranks to save and stop.
    """

    def __init__(
        self,
        starter: Starter,
        monitor: Monitor,
        inbox: SignalInbox,
        start_timeout: float,
        drain: Callable[[], bool] | None = None,
    ) -> None:
        self.starter = starter
        self.monitor = monitor
        self.inbox = inbox
        self.start_timeout = start_timeout
        self._drain = drain
        self._drained = False
        self._started_at = time.monotonic()
        self._starter_ended_at: float | None = None
        self._stop_signal: int | None = None
        self._stop_signal_at = 0.0
        self._give_up = False
        self._wants_standing = False

    def run(self) -> JobEnd:
        """Hear and watch until there is a verdict, tell it, and end what still runs."""
        try:
            while (verdict := self._verdict()) is None:
                self._hear()
                self._pass_on_signal()
                self._drain_if_wanted()
            self._tell(*verdict.lines, *self._standing(verdict))
            self._end_ranks()
            asked, signaled = self._stop_signal is not None, self.monitor.job.signaled
            return JobEnd(verdict.code, asked, self._drained, verdict.ranks, signaled)
        finally:
            self.starter.end()

    def _tell(self, *lines: str) -> None:
        write_fd(2, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))

    def _standing(self, verdict: Verdict) -> tuple[str, ...]:
        """Where the ranks of a job that hangs stand, before they are ended."""
        stacks = self.monitor.stacks
        if not verdict.is_hang:
            return ()
        if not stacks.are_fresh(time.monotonic()):
            self.monitor.ask_for_stacks()
        while stacks.is_running:  # bounded by the round itself
            self._hear()
        return (standing_line(stacks.answers.values()),) if stacks.answers else ()

    def _hear(self) -> None:
        sockets = [*self.monitor.sockets, *self.starter.sockets, self.inbox.fd]
        wait_readable(sockets, _TICK_SECONDS)
        self.starter.hear()
        self.monitor.hear()

    def _pass_on_signal(self) -> None:
        """The first signal asks the ranks to save and stop; the second ends them.

        A scheduler signals a batch script and all that it has started, and the script passes on
        what it gets: that is one signal.
        """
        number, now = self.inbox.take_stop_signal(), time.monotonic()
        if self.inbox.take_stacks_request():
            self.monitor.ask_for_stacks()
            self._wants_standing = True
        if self._wants_standing and not self.monitor.stacks.is_running:
            self._wants_standing = False
            self._tell(standing_line(self.monitor.stacks.answers.values()))
        if number is None:
            return
        if self._stop_signal is not None and now - self._stop_signal_at < SAME_SIGNAL_SECONDS:
            return
        self._give_up = self._stop_signal is not None or not self.monitor.job.all_here
        # Ranks that save already take a second order as the one to end at once.
        if not self._drained or self._stop_signal is not None:
            self.monitor.order({"type": "stop", "signal": number})
        self._stop_signal, self._stop_signal_at = number, now

    def _drain_if_wanted(self) -> None:
        if self._drain is None or self._drained or self._stop_signal is not None:
            return
        if self.monitor.job.all_here and self._drain():
            self._drained = True
            self.monitor.order({"type": "stop", "signal": signal.SIGTERM})

    def _verdict(self) -> Verdict | None:
        if self._give_up and self._stop_signal is not None:
            return Verdict(128 + self._stop_signal)
        return self.monitor.verdict() or self._starter_ended() or self._late()

    def _starter_ended(self) -> Verdict | None:
        code = self.starter.exit_code()
        if code is None:
            return None
        now = time.monotonic()
        if self._starter_ended_at is None:
            self._starter_ended_at = now
        self.monitor.hear()
        wait = 0.0 if self.monitor.is_empty else _RANKS_OUTLIVE_LAUNCHER_SECONDS
        if now - self._starter_ended_at < wait:
            return None
        return self.monitor.verdict() or self._without_ranks(code)

    def _without_ranks(self, code: int) -> Verdict:
        words = self.starter.last_words()
        if any(_SSH_FAILED in word for word in words):
            line = f"error: --hosts: ssh to {self.starter.hosts} does not work without a password"
            return Verdict(EXIT_USER_ERROR, (f"{line}; set up keys",))
        when = "while ranks were running" if self.monitor.job.ranks else "before ranks could start"
        return Verdict(
            EXIT_FAILED, (*words, f"{self.starter.name} ended with exit code {code} {when}")
        )

    def _late(self) -> Verdict | None:
        job = self.monitor.job
        if job.all_here or time.monotonic() - self._started_at < self.start_timeout:
            return None
        late = tuple(rank for rank in range(job.size) if rank not in job.ranks)
        names = ", ".join(map(str, late))
        text = f"rank {names} did not start within {self.start_timeout:g} s (--start-timeout)"
        return Verdict(EXIT_FAILED, (*self.starter.last_words(), text), late)

    def _end_ranks(self) -> None:
        """Release the ranks that have ended and end the others; all have reported how by then."""
        job = self.monitor.job
        released = job.all_ended
        self.monitor.order({"type": "release" if released else "abort"})
        deadline = time.monotonic() + _ABORT_SECONDS
        while not self.monitor.is_empty and time.monotonic() < deadline:
            self._hear()
            if job.all_ended and not released:
                released = True
                self.monitor.order({"type": "release"})


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
        _check_seconds("--stall-timeout", seconds)
        return seconds

    def check(self) -> None:
        """Look at the settings before anybody is asked anything.

        Raises:
            UserError: they cannot be.
        """
        _ = self.stall
        _check_seconds("--start-timeout", self.start_timeout_seconds)
        if self.log_dir is not None:
            make_folder(self.log_dir, "give another --log-dir")


def _check_seconds(option: str, seconds: float) -> None:
    if not 0 < seconds <= _MAX_SECONDS:
        text = "give seconds above 0" if not seconds > 0 else f"give {_MAX_SECONDS:.0f} or less"
        raise UserError(f"{option}: got {seconds:g}; {text}")


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
    hosts = fleet.hosts.with_ipv4_names()
    line = horovodrun_command(np, hosts, kind, seconds, command, interfaces)
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
    if np > _MAX_RANKS:
        raise UserError(f"--np: got {np}; give {_MAX_RANKS} or less")
    start, stall = start_ranks(command, np, fleet, settings), settings.stall
    _allow_files(np)
    env = _rank_environment(np, stall, settings.log_dir, fleet, restart)
    is_asked = settings.stall_timeout_seconds is not None
    if is_asked:
        _check_stalls(env, stall)
    # Short, and not under a deep TMPDIR: sockets in it have at most 107 characters.
    with temporary_folder():
        folder = Path(tempfile.mkdtemp(prefix="hvdcore-", dir=_short_temporary_folder()))
    shared_memory = _SHARED_MEMORY / folder.name
    try:
        address = fleet.address or fleet.hosts.our_address()
        listener = Listener(folder, address)
        if address is None:
            # What mpirun would leave in /tmp after a hard end goes with our folder.
            env.setdefault("OMPI_MCA_orte_tmpdir_base", str(folder))
            # The ranks' common memory is a file that those which are killed leave behind.
            with contextlib.suppress(OSError):
                shared_memory.mkdir(mode=0o700)
                env.setdefault("OMPI_MCA_btl_vader_backing_directory", str(shared_memory))
            # One task of Slurm's may have the cores for many ranks.
            env.setdefault("OMPI_MCA_ras", "^slurm")
        elif uses_srun(fleet.hosts.slots, os.environ):
            env.update(srun_environment(folder, env))
        env[MONITOR] = listener.address
        monitor = Monitor(listener, np, stall, write_fd, tell_silent=is_asked)
        try:
            seconds = settings.start_timeout_seconds
            return RunningJob(start(env), monitor, inbox, seconds, drain).run()
        finally:
            monitor.close()
            kill_orphans(JOB, env[JOB])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(shared_memory, ignore_errors=True)


def _check_stalls(env: dict[str, str], stall: float) -> None:
    """Bound how long ranks of a plain Horovod program wait for one that does not come."""
    settings = horovod_stall_check(stall)
    if not settings.keys() & env.keys():  # else the user has set it
        env.update({STALL_CHECK: "1", **settings})


def _allow_files(np: int) -> None:
    """Each rank is a connection, and strangers may be some more; the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = np + 2 * MAX_STRANGERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _short_temporary_folder() -> str | None:
    folder = tempfile.gettempdir()
    return folder if len(folder) < 40 or not os.access("/tmp", os.W_OK) else "/tmp"


def _rank_environment(
    np: int, stall: float, log_dir: Path | None, fleet: Fleet, restart: int
) -> dict[str, str]:
    env = clean_environment(os.environ)
    env.update({EXPECTED_SIZE: str(np), STALL_TIMEOUT: f"{stall:g}"})
    env[JOB] = secrets.token_hex(8)
    env[LAUNCH] = _LAUNCH
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
