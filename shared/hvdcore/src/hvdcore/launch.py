"""Owns starting a job: N ranks of one command through horovodrun, to one exit code."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hvdcore.channel import MONITOR, Listener
from hvdcore.controllers import (
    ControllerChoice,
    choose_controller,
    find_program,
    launch_environment,
)
from hvdcore.environment import DEFAULT_STALL_TIMEOUT_SECONDS, STALL_TIMEOUT
from hvdcore.errors import EXIT_USER_ERROR, UserError
from hvdcore.hosts import Hosts, parse_hosts
from hvdcore.job import Verdict
from hvdcore.leftovers import end_leftovers
from hvdcore.monitor import Monitor
from hvdcore.outcome import EXIT_FAILED
from hvdcore.rank_argv import encode_command
from hvdcore.rank_output import write_fd
from hvdcore.signal_inbox import SignalInbox
from hvdcore.supervise import EXPECTED_SIZE
from hvdcore.supervisor import LOG_DIR

__all__ = ["launch"]

JOB = "HVDCORE_JOB"
DEFAULT_START_TIMEOUT_SECONDS = 120.0

_ABORT_SECONDS = 5.0
_LAUNCHER_ENDS_SECONDS = 3.0
_TICK_SECONDS = 0.2
# Variables of a job that we may run inside of; ours is another one.
_OTHER_JOBS = re.compile(
    r"^(HVDCORE_(SUPERVISED|PREPARED|HEARTBEAT|MONITOR|RANK_MARKER|JOB|EXPECTED_SIZE|LOG_DIR)"
    r"|HOROVOD_(RANK|SIZE|LOCAL_RANK|LOCAL_SIZE|CROSS_RANK|CROSS_SIZE|HOSTNAME|CONTROLLER"
    r"|CPU_OPERATIONS|GLOO_.*)|PMIX_.*|OMPI_COMM_.*|OMPI_MCA_(orte|ess|pmix).*)$"
)
# horovodrun writes the names of variables into a shell command.
_SHELL_SAFE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


def launch(
    command: list[str],
    np: int,
    hosts: str | None = None,
    *,
    controller: ControllerChoice = "auto",
    stall_timeout_seconds: float = DEFAULT_STALL_TIMEOUT_SECONDS,
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
        stall_timeout_seconds: a rank that gives no sign of life for so long is given up.
        start_timeout_seconds: all ranks must have started by then.
        log_dir: where `rank-N.log` goes; None leaves it to the command (its run directory).

    Returns:
        0 done; 1 failed, and a line on stderr names the rank and its log; 2 the input is wrong;
        143 or 130 stopped by SIGTERM or SIGINT, after the ranks could save a checkpoint.

    Raises:
        UserError: hosts, np or the controller cannot work here.
    """
    if not stall_timeout_seconds > 0:
        raise UserError(f"--stall-timeout: got {stall_timeout_seconds:g}; give seconds above 0")
    where = parse_hosts(hosts, np)
    kind = choose_controller(controller)
    folder = Path(tempfile.mkdtemp(prefix="hvdcore-"))
    token = secrets.token_hex(8)
    listener = Listener(folder, None if where.are_local() else socket.getfqdn())
    env = _rank_environment(np, stall_timeout_seconds, folder, log_dir)
    env.update({JOB: token, MONITOR: listener.address})
    starter = _horovodrun(np, where, kind, int(start_timeout_seconds) + 1, command)
    monitor = Monitor(listener, np, stall_timeout_seconds, write_fd)
    try:
        with SignalInbox() as inbox:
            return _Launch(starter, env, monitor, inbox, start_timeout_seconds).run()
    finally:
        monitor.close()
        end_leftovers(JOB, token)
        shutil.rmtree(folder, ignore_errors=True)


def _rank_environment(
    np: int, stall_timeout: float, folder: Path, log_dir: Path | None
) -> dict[str, str]:
    env = {
        name: value
        for name, value in launch_environment(os.environ).items()
        if _SHELL_SAFE_NAME.match(name) and not _OTHER_JOBS.match(name)
    }
    env.update({EXPECTED_SIZE: str(np), STALL_TIMEOUT: f"{stall_timeout:g}"})
    # What mpirun would leave in /tmp after a hard end goes with our folder.
    env.setdefault("OMPI_MCA_orte_tmpdir_base", str(folder))
    # A scheduler's SIGTERM reaches mpirun too, which would kill the ranks one second later.
    env.setdefault("OMPI_MCA_odls_base_sigkill_timeout", "60")
    if log_dir is not None:
        env[LOG_DIR] = str(log_dir.resolve())
    return env


def _horovodrun(
    np: int, hosts: Hosts, controller: str, start_timeout: int, command: list[str]
) -> list[str]:
    program = find_program("horovodrun")
    if program is None:
        raise UserError("horovodrun: not installed for this Python; see `hvdcore doctor`")
    options = ["-np", str(np), "-H", str(hosts), f"--{controller}", "--disable-cache"]
    options += ["--start-timeout", str(start_timeout)]
    rank = [sys.executable, "-m", "hvdcore.rank_argv", encode_command(command)]
    return [str(program), *options, *rank]


class _Launch:
    """One run of horovodrun, watched from its start to the last process."""

    def __init__(
        self,
        starter: list[str],
        env: dict[str, str],
        monitor: Monitor,
        inbox: SignalInbox,
        start_timeout: float,
    ) -> None:
        self.monitor = monitor
        self.inbox = inbox
        self.start_timeout = start_timeout
        self.started_at = time.monotonic()
        self.stop_signal: int | None = None
        self.said = b""
        # A session of its own: Ctrl-C is for us, and we pass it on in good order.
        self.process = subprocess.Popen(
            starter,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.pipe = self.process.stdout.fileno()
        os.set_blocking(self.pipe, False)

    def run(self) -> int:
        try:
            while (verdict := self._verdict()) is None:
                self._wait_for_news()
                self._pass_on_signal()
            write_fd(2, "".join(f"{line}\n" for line in verdict.lines).encode())
            self._end_ranks(verdict)
            return verdict.code
        finally:
            self._end_horovodrun()

    def _wait_for_news(self) -> None:
        sockets = [*self.monitor.sockets, self.inbox.fd]
        if self.pipe >= 0:
            sockets.append(self.pipe)
        select.select(sockets, [], [], _TICK_SECONDS)
        self._hear_horovodrun()
        self.monitor.hear()

    def _hear_horovodrun(self) -> None:
        """Keep the last of what horovodrun and mpirun say, for when nothing else explains it."""
        while self.pipe >= 0:
            try:
                raw = os.read(self.pipe, 1 << 16)
            except BlockingIOError:
                return
            self.said = (self.said + raw)[-(1 << 16) :]
            if not raw:
                self.pipe = -1

    def _pass_on_signal(self) -> None:
        number = self.inbox.take_stop_signal()
        if number is None:
            return
        again, self.stop_signal = self.stop_signal is not None, number
        self.monitor.order({"type": "abort"} if again else {"type": "stop", "signal": number})
        if again or not self.monitor.job.all_here:
            self.started_at = -self.start_timeout

    def _verdict(self) -> Verdict | None:
        verdict = self.monitor.verdict()
        if verdict is not None:
            return verdict
        if self.process.poll() is not None and self.monitor.is_empty:
            self.monitor.hear()
            return self.monitor.verdict() or self._never_started()
        late = time.monotonic() - self.started_at > self.start_timeout
        if self.stop_signal is not None and late:
            return Verdict(128 + self.stop_signal)
        if late and not self.monitor.job.all_here:
            missing = set(range(self.monitor.job.size)) - self.monitor.job.ranks.keys()
            names = ", ".join(map(str, sorted(missing)))
            text = f"rank {names} did not start within {self.start_timeout:g} s (--start-timeout)"
            return Verdict(EXIT_FAILED, (*self._last_words(), text))
        return None

    def _never_started(self) -> Verdict:
        if b"could not connect to some hosts via ssh" in self.said:
            line = (
                "error: --hosts: ssh to one of them does not work without a password; set up keys"
            )
            return Verdict(EXIT_USER_ERROR, (line,))
        if self.stop_signal is not None:
            return Verdict(128 + self.stop_signal)
        code = self.process.returncode
        text = f"horovodrun ended with exit code {code} before the ranks could start"
        return Verdict(EXIT_FAILED, (*self._last_words(), text))

    def _last_words(self) -> list[str]:
        lines = self.said.decode("utf-8", "replace").splitlines()
        return [line for line in lines if line.strip()][-20:]

    def _end_ranks(self, verdict: Verdict) -> None:
        job = self.monitor.job
        self.monitor.order({"type": "release"} if job.all_ended else {"type": "abort"})
        deadline = time.monotonic() + _ABORT_SECONDS
        released = job.all_ended
        while not self.monitor.is_empty and time.monotonic() < deadline:
            self._wait_for_news()
            if job.all_ended and not released:
                self.monitor.order({"type": "release"})
                released = True

    def _end_horovodrun(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_LAUNCHER_ENDS_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
