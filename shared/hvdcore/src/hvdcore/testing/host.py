"""Owns one host of a test: its cable, its processes, its power."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["TestHost", "missing_for_delays", "missing_for_hosts", "run"]

_PROGRAMS = (
    "unshare",
    "nsenter",
    "setpriv",
    "ip",
    "tc",
    "mount",
    "ssh",
    "ssh-keygen",
    "/usr/sbin/sshd",
)


def missing_for_hosts() -> str:
    """Why there can be no such hosts here, '' when there can."""
    if os.geteuid() != 0:
        return "hosts of a test need root"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"hosts of a test need {', '.join(missing)}"
    probe = ["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "--mount-proc", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"this machine makes no hosts: {done.stderr.strip()}" if done.returncode else ""


def missing_for_delays() -> str:
    """Why links cannot be made slow to answer here, '' when they can."""
    probe = ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    if reason := missing_for_hosts():
        return reason
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"this kernel delays no packets (netem): {done.stderr.strip()}" * bool(done.returncode)


def run(*command: str) -> None:
    """Run a command that has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


@dataclass
class TestHost:
    """A host. `cable` is the end of its cable at the switch, `interface` its own end."""

    __test__ = False

    name: str
    address: str
    interface: str
    cable: str
    process: subprocess.Popen[bytes]
    pid: int

    def inside(self, folder: Path) -> list[str]:
        """What to put before a command line so that it runs on this host, in `folder`."""
        enter = ["nsenter", f"--target={self.pid}", "--net", "--pid", "--mount", "--uts"]
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(folder)]

    def cut_off(self) -> None:
        """Pull the cable."""
        run("ip", "link", "set", self.cable, "down")

    def plug_in(self) -> None:
        """Put the cable back."""
        run("ip", "link", "set", self.cable, "up")

    def slow_down(self, rate: str) -> None:
        """Let the cable carry `rate` (such as `2mbit`) in the direction of this host."""
        limits = ("rate", rate, "burst", "16kbit", "latency", "200ms")
        run("tc", "qdisc", "replace", "dev", self.cable, "root", "tbf", *limits)

    def limit(self, rate: str) -> None:
        """Let the cable carry `rate` (such as `100mbit`) in each direction."""
        # What a burst lets through at once is to be far less than the messages of interest.
        self._both_ends("tbf", "rate", rate, "burst", "16kb", "latency", "200ms")

    def delay(self, milliseconds: float) -> None:
        """Let what goes through the cable take so much longer in each direction."""
        self._both_ends("netem", "delay", f"{milliseconds}ms")

    def _both_ends(self, *discipline: str) -> None:
        replace = ("tc", "qdisc", "replace", "dev")
        run(*replace, self.cable, "root", *discipline)
        run(*self.inside(Path("/")), *replace, self.interface, "root", *discipline)

    def kill(self) -> None:
        """Power off: every process dies at once."""
        if self.process.poll() is None:  # else its number may be another process's by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.process.wait()

    def processes(self, word: str) -> list[int]:
        """Ids of this host's processes with `word` in their command line."""
        family = psutil.Process(self.pid).children(recursive=True)
        found = []
        for process in family:
            with contextlib.suppress(psutil.Error):
                if any(word in argument for argument in process.cmdline()):
                    found.append(process.pid)
        return found
