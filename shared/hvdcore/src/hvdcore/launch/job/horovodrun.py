"""The horovodrun process of a job: its command line, its environment, its output, its end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping

from hvdcore.errors import UserError
from hvdcore.launch.hosts.hosts import Hosts
from hvdcore.launch.hosts.remote_shell import encode_command
from hvdcore.launch.job.controllers import find_program, launch_environment
from hvdcore.runtime.environment import JOB_VARIABLES, python_module
from hvdcore.runtime.process_limit import advice, is_reached

__all__ = ["Horovodrun", "clean_environment", "horovodrun_command"]

_ENDS_BY_ITSELF_SECONDS = 3.0
_KEPT_BYTES = 1 << 16
_KEPT_LINES = 20
# Variables of a job that we may run inside of; ours is another one.
_OTHER_JOBS = re.compile(
    r"^(HOROVOD_(RANK|SIZE|LOCAL_RANK|LOCAL_SIZE|CROSS_RANK|CROSS_SIZE|HOSTNAME|CONTROLLER"
    r"|CPU_OPERATIONS|GLOO_.*)|PMIX_.*|PMI2?_.*|OMPI_COMM_.*|OMPI_MCA_(orte|ess|pmix).*)$"
)
# horovodrun writes the names of variables into a shell command.
_SHELL_SAFE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """`env` without another job's variables, and with this Python's programs first on PATH."""
    return {
        name: value
        for name, value in launch_environment(env).items()
        if _SHELL_SAFE_NAME.match(name)
        and name not in JOB_VARIABLES
        and not _OTHER_JOBS.match(name)
    }


def horovodrun_command(
    np: int,
    hosts: Hosts,
    controller: str,
    start_timeout: float,
    command: list[str],
    interfaces: str | None = None,
) -> list[str]:
    """The command line that starts `command` on `np` ranks.

    Args:
        interfaces: what they communicate through; with None horovodrun asks every host.

    Raises:
        UserError: horovodrun is not installed, or the command is too long.
    """
    program = find_program("horovodrun")
    if program is None:
        raise UserError("horovodrun: not installed for this Python; see `hvdcore doctor`")
    options = ["-np", str(np), "-H", str(hosts), f"--{controller}", "--disable-cache"]
    options += ["--start-timeout", str(int(start_timeout) + 1)]
    options += ["--network-interfaces", interfaces] if interfaces else []
    rank = [*python_module("hvdcore.launch.supervisor.supervise"), encode_command(command)]
    return [str(program), *options, *rank]


class Horovodrun:
    """horovodrun while it runs. What it says is kept for when nothing else explains a failure."""

    name = "horovodrun"

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self.hosts = command[command.index("-H") + 1] if "-H" in command else "localhost"
        try:
            # A session of its own: Ctrl-C is for us, and we pass it on.
            self._process = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            if not is_reached(error):
                raise
            raise UserError(f"horovodrun: {advice()}") from error
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        self._said = b""
        self._is_silent = False
        os.set_blocking(self._pipe.fileno(), False)

    @property
    def sockets(self) -> list[int]:
        """What to wait on for news."""
        return [] if self._is_silent else [self._pipe.fileno()]

    def hear(self) -> None:
        """Take in what it has said."""
        while not self._is_silent:
            try:
                raw = os.read(self._pipe.fileno(), _KEPT_BYTES)
            except BlockingIOError:
                return
            self._is_silent = not raw
            self._said = (self._said + raw)[-_KEPT_BYTES:]

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def last_words(self) -> list[str]:
        """The last lines that it and mpirun said."""
        said = self._said.decode("utf-8", "replace")
        if is_reached(said):
            return [advice()]
        lines = said.splitlines()
        return [line for line in lines if line.strip()][-_KEPT_LINES:]

    def end(self) -> None:
        """Give it a moment to end by itself, then end it and what it started here."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDS_BY_ITSELF_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pipe.close()
