"""Processes: of a rank, in a group of its own and bound to its supervisor; and orphaned ones."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from hvdcore.runtime.environment import RANK_MARKER
from hvdcore.runtime.terminal import open_terminal

__all__ = [
    "RankProcess",
    "end_with_parent",
    "find_orphans",
    "kill_orphans",
    "process_state",
]

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """From now on this process gets signal `number` the moment process `parent` is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before we could ask
        sys.exit(128 + number)


def find_orphans(variable: str, value: str) -> list[int]:
    """Process ids on this host, but our own, that were started with `variable=value`.

    The environment survives new sessions, process groups and the death of parents, where no other
    mark does. Only processes of the same user can be read, and only where /proc exists.
    """
    wanted = f"{variable}={value}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes()
            if wanted in environment.split(b"\0") and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def kill_orphans(variable: str, value: str) -> int:
    """SIGKILL every process that `find_orphans` finds, until it finds none. Returns how many."""
    ended: set[int] = set()
    for _ in range(5):  # a process may have forked while we looked
        found = set(find_orphans(variable, value)) - ended
        if not found:
            break
        for pid in found:
            if not _tidies_up(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        ended |= found
    return len(ended)


def _tidies_up(pid: int) -> bool:
    """Whether a process is the one of Python's multiprocessing that deletes the semaphores and
    shared memory of others in /dev/shm. It ends by itself once they have."""
    with contextlib.suppress(OSError):
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def process_state(pid: int) -> str:
    """The state letter of a process ('R', 'S', 'T' stopped, 'Z', ...), '' when it is not there."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def _die_with_parent() -> Callable[[], None]:
    """What a child runs before exec: a new group, and SIGKILL the moment its supervisor is gone.

    A supervisor can die by SIGKILL, when it can clean up nothing; then the kernel does.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        os.setpgid(0, 0)
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


class RankProcess:
    """The process that does a rank's work. Its output comes through pipes, or terminals.

    Args:
        command: program and arguments, passed on byte for byte.
        env: its whole environment.
        at_terminal: this rank's streams are the user's terminal where the launcher's are.

    Raises:
        OSError: the program cannot be started.
    """

    def __init__(
        self, command: list[str], env: Mapping[str, str], *, at_terminal: bool = False
    ) -> None:
        self._marker = secrets.token_hex(8)
        ends = [open_terminal(s, env) if at_terminal else None for s in (1, 2)]
        ours, childs = zip(*(end or os.pipe() for end in ends), strict=True)
        self.stdout_fd, self.stderr_fd = ours
        for fd in ours:
            os.set_blocking(fd, False)
        self._process = subprocess.Popen(
            command,
            env={**env, RANK_MARKER: self._marker},
            stdin=subprocess.DEVNULL,
            stdout=childs[0],
            stderr=childs[1],
            # Safe here: the supervisor is the only thread of its process.
            preexec_fn=_die_with_parent(),
        )
        self.pid = self._process.pid
        for fd in childs:
            os.close(fd)

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        return self._process.poll()

    def signal(self, number: int, pid: int | None = None) -> None:
        """Signal the process that trains: `pid` when it is known to be below ours, else ours.

        Not the group: a shell around the trainer would die at once and take it along.
        """
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid or self.pid, number)

    def kill(self) -> None:
        """End it and everything that it started."""
        if not any(map(_tidies_up, find_orphans(RANK_MARKER, self._marker))):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        kill_orphans(RANK_MARKER, self._marker)

    def close(self) -> None:
        """Kill what is left and give the pipes back."""
        self.kill()
        self._process.wait()
        os.close(self.stdout_fd)
        os.close(self.stderr_fd)
