"""A second host: a network of its own, joined to ours by a cable that exists only in the kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# What ssh would do, without its server: run the command in the other network. Options may stand
# before and after the host.
SSH = """#!/bin/sh
host=
while [ $# -gt 0 ]; do
  case "$1" in
    -o|-p|-i|-l) shift 2 ;;
    -*) shift ;;
    *) [ -z "$host" ] || break; host="$1"; shift ;;
  esac
done
[ "$host" = "{theirs}" ] || exit 255
exec nsenter --net=/var/run/netns/{name} /bin/sh -c "$*"
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def cable(name: str, ours: str, theirs: str) -> None:
    """Horovod wants the same interface name on every host."""
    ip("netns", "add", name)
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}x")
    ip("link", "set", f"{name}x", "netns", name)
    ip("-n", name, "link", "set", f"{name}x", "name", name)
    ip("addr", "add", f"{ours}/24", "dev", name)
    ip("-n", name, "addr", "add", f"{theirs}/24", "dev", name)
    ip("link", "set", name, "up")
    ip("-n", name, "link", "set", name, "up")
    ip("-n", name, "link", "set", "lo", "up")


@pytest.fixture
def two_hosts(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """`--hosts` for two hosts of one slot that share disks and nothing else, and the PATH on which
    `ssh` reaches the second one."""
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("nsenter")):
        pytest.skip("a second network needs root, ip and nsenter")
    name, net = f"hvd{os.getpid()}", f"10.77.{os.getpid() % 250}"
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(SSH.format(theirs=f"{net}.2", name=name), encoding="utf-8")
    (folder / "ssh").chmod(0o755)
    try:
        cable(name, f"{net}.1", f"{net}.2")
    except subprocess.CalledProcessError as error:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        pytest.skip(f"this machine makes no networks: {error.stderr!r}")
    try:
        yield f"{net}.1:1,{net}.2:1", f"{folder}:{os.environ['PATH']}"
    finally:
        subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
        ip("netns", "del", name)
