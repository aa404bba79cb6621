"""Hosts for tests: kernel namespaces with a network, a name and processes of their own.

Each has an ssh server and a cable that can be cut. They share the disk, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = [
    "TestHost",
    "TestNetwork",
    "missing_for_delays",
    "missing_for_hosts",
    "run",
]

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

    def limit(self, rate: str, burst: str = "16kb", queue: str = "200ms") -> None:
        """Let the cable carry `rate` (such as `100mbit`) in each direction.

        Args:
            burst: bytes that pass at once. Far less than the messages of interest, and no less than
                `rate` carries between two ticks of the kernel's clock: 1 Gbit/s with a burst of
                16 kB carried 0.6 Gbit/s in one direction, and 0.35 in each of both.
            queue: the longest that a packet waits; one that would wait longer is dropped.
        """
        self._both_ends("tbf", "rate", rate, "burst", burst, "latency", queue)

    def unlimit(self) -> None:
        """Let the cable carry what it can."""
        delete = ("tc", "qdisc", "del", "dev")
        for line in (
            [*delete, self.cable, "root"],
            [*self.inside(Path("/")), *delete, self.interface, "root"],
        ):
            subprocess.run(line, capture_output=True, check=False)

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


_SECONDS = 60.0
_NEW_HOST = (
    "setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--pid", "--mount", "--uts", "--fork",
    "--kill-child", "--mount-proc",
)  # fmt: skip
# Becomes the first process of the host: when it is killed, the kernel kills all the others. What a
# person's login does beside the command is left out: it may take a lock on the shared disk, and a
# host that dies with it would hold up every login on all the others.
_FIRST_PROCESS = """
hostname {name}
mount --bind {folder}/hosts /etc/hosts
mount -t tmpfs tmpfs /dev/shm
test ! -e ~root/.bashrc || mount --bind /dev/null ~root/.bashrc
until ip link set {interface} up 2> /dev/null; do sleep 0.02; done
ip addr add {address}/24 dev {interface}
ip link set lo up
{extra}
exec {server}
"""
_SSHD = """
Port 22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/{keys}
StrictModes no
UsePAM no
PasswordAuthentication no
PidFile none
PermitRootLogin prohibit-password
"""
_SSH = """
Host *
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  LogLevel ERROR
"""


class TestNetwork:
    """A switch, and the hosts at it. `folder` takes keys and settings; use as a context."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts: dict[str, TestHost] = {}
        self.bridge = f"hvd{os.getpid()}"
        self._number = 0

    def __enter__(self) -> TestNetwork:
        self.folder.mkdir(parents=True, exist_ok=True)
        Path("/run/sshd").mkdir(exist_ok=True)
        for key in ("host_key", "user_key", "wrong_key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key))
        self._write("authorized_keys", (self.folder / "user_key.pub").read_text("utf-8"))
        self._write("other_keys", (self.folder / "wrong_key.pub").read_text("utf-8"))
        self._write("hosts", "127.0.0.1 localhost\n")
        self._write("ssh_config", _SSH.format(folder=self.folder))
        self._write("known_hosts", "")
        (self.folder / "bin").mkdir()
        ssh = f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.folder}/ssh_config "$@"\n'
        self._write("bin/ssh", ssh).chmod(0o755)
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "link", "set", self.bridge, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.kill()
        # The kernel of a host that died may go on sending for minutes, and keeps the cable.
        for link in (*(host.cable for host in self.hosts.values()), self.bridge):
            subprocess.run(["ip", "link", "del", link], capture_output=True, check=False)

    @property
    def path(self) -> str:
        """A PATH on which `ssh` knows the keys."""
        return f"{self.folder}/bin:{os.environ['PATH']}"

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def add(
        self,
        name: str,
        interface: str,
        *,
        extra: str = "",
        refuses: bool = False,
        known: bool = True,
        full_name: str = "",
        server: str = "",
        port: int = 22,
    ) -> TestHost:
        """A host that is up when this returns.

        Args:
            name: by which the hosts know each other.
            interface: what it calls its end of the cable.
            extra: shell commands to run first on the host.
            refuses: it does not take our key.
            known: its host key is known to the others.
            full_name: by which the hosts know this one, where that is not its own name.
            server: shell command that serves ssh on `port`, in place of a server as root.
        """
        self._number += 1
        address = f"10.77.1.{self._number}"
        self._learn(full_name or name, address, known=known)
        keys = "other_keys" if refuses else "authorized_keys"
        self._write("sshd_config", _SSHD.format(folder=self.folder, keys=keys))
        script = _FIRST_PROCESS.format(
            name=name, folder=self.folder, interface=interface, address=address, extra=extra,
            server=server or f"/usr/sbin/sshd -D -e -f {self.folder}/sshd_config",
        )  # fmt: skip
        process = self._power_on(name, script)
        cable = f"{self.bridge}-{self._number}"
        pid = self._first_process(process)
        host = self.hosts[name] = TestHost(name, address, interface, cable, process, pid)
        run(
            "ip", "link", "add", cable, "type", "veth", "peer", "name", interface, "netns", str(pid)
        )
        run("ip", "link", "set", cable, "master", self.bridge, "up")
        self._wait_for_ssh(host, port)
        return host

    def _power_on(self, name: str, script: str) -> subprocess.Popen[bytes]:
        # Should the test be killed, so are its hosts.
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [*_NEW_HOST, "sh", "-ec", script],
                stdin=subprocess.DEVNULL, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _learn(self, name: str, address: str, *, known: bool) -> None:
        with (self.folder / "hosts").open("a", encoding="utf-8") as file:
            file.write(f"{address} {name}\n")
        if known:
            key = " ".join((self.folder / "host_key.pub").read_text("utf-8").split()[:2])
            with (self.folder / "known_hosts").open("a", encoding="utf-8") as file:
                file.write(f"{name},{address} {key}\n")

    def _first_process(self, process: subprocess.Popen[bytes]) -> int:
        deadline = time.monotonic() + _SECONDS
        while not (children := psutil.Process(process.pid).children()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return int(children[0].pid)

    def _wait_for_ssh(self, host: TestHost, port: int) -> None:
        deadline = time.monotonic() + _SECONDS
        command: Sequence[str] = ["ss", "-Hltn", f"sport = :{port}"]
        while not subprocess.run(
            [*host.inside(self.folder), *command], capture_output=True, check=False
        ).stdout:
            log = (self.folder / f"{host.name}.log").read_text("utf-8")
            assert host.process.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.02)
