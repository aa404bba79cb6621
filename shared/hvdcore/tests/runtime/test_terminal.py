from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios

import pytest

from hvdcore.launch.supervisor.processes import RankProcess
from hvdcore.runtime.environment import TERMINAL
from hvdcore.runtime.terminal import open_terminal

CHILD = "import os, sys; print(sys.stdout.isatty(), sys.stderr.isatty(), os.get_terminal_size(2))"


def read_all(fd: int) -> bytes:
    os.set_blocking(fd, True)
    raw = b""
    while True:
        try:
            chunk = os.read(fd, 4096)
        except OSError:
            return raw
        if not chunk:
            return raw
        raw += chunk


def test_the_childs_stream_is_a_terminal_of_the_users_size() -> None:
    env = {**os.environ, TERMINAL: "2:123x45"}
    process = RankProcess([sys.executable, "-c", CHILD], env, at_terminal=True)
    said = read_all(process.stdout_fd)
    process.close()
    assert said == b"False True os.terminal_size(columns=123, lines=45)\n"


def test_other_ranks_have_pipes() -> None:
    env = {**os.environ, TERMINAL: "12:123x45"}
    process = RankProcess([sys.executable, "-c", "import os; print(os.isatty(2))"], env)
    said = read_all(process.stdout_fd)
    process.close()
    assert said == b"False\n"


@pytest.mark.parametrize("value", ["", "2", "3:1x1", "2:x", "2:1x1;"])
def test_nonsense_means_no_terminal(value: str) -> None:
    assert open_terminal(2, {TERMINAL: value}) is None


def test_the_launcher_shares_what_it_has() -> None:
    ours, childs = os.openpty()
    fcntl.ioctl(childs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    code = "from hvdcore.runtime.terminal import share_terminal as s; env = {}; s(env); print(env)"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=childs, text=True, check=True
    )
    os.close(ours)
    os.close(childs)
    assert done.stdout == "{'HVDCORE_TERMINAL': '2:99x33'}\n"


def test_a_launcher_in_a_pipe_takes_back_what_it_inherited() -> None:
    code = (
        "from hvdcore.runtime.terminal import share_terminal as s\n"
        "env = {'HVDCORE_TERMINAL': '2:99x33'}; s(env); print(env)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{}\n"


def test_what_a_full_disk_does_not_take_is_told_once() -> None:
    code = "from hvdcore.runtime.terminal import write_fd; [write_fd(1, b'x') for _ in range(9)]"
    for target, told in (
        ("/dev/full", b"warning: standard output: No space left on device; what is printed there"),
        ("/dev/null", b""),
    ):
        with open(target, "wb") as stream:
            done = subprocess.run(
                [sys.executable, "-c", code], stdout=stream, stderr=subprocess.PIPE, check=True
            )
        assert done.stderr.startswith(told)
        assert done.stderr.count(b"\n") == bool(told)
