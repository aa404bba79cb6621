"""What somebody who does not know the token can do to a launcher's port: nothing."""

from __future__ import annotations

import json
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hvdcore.launch.job import monitor as module
from hvdcore.launch.job.monitor import MAX_STRANGERS, Monitor
from hvdcore.launch.supervisor.channel import Channel, Listener, connect
from hvdcore.runtime.signals import wait_readable

SILENT = 2000


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    """A launcher's end on the network, which expects two ranks."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 3 * SILENT:
        pytest.skip(f"no more than {before[1]} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 * SILENT, before[1]))
    subject = Monitor(Listener(tmp_path, "127.0.0.1"), 2, 300.0, lambda fd, raw: None)
    yield subject
    subject.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def stranger(monitor: Monitor) -> socket.socket:
    host, port, _ = monitor.listener.address.removeprefix("tcp:").rsplit(":", 2)
    return socket.create_connection((host, int(port)))


def rank(monitor: Monitor, number: int) -> Channel:
    """A rank that calls and says what it does."""
    channel, token = connect(monitor.listener.address)
    channel.send({"type": "hello", "token": token, "rank": number})
    state = {"type": "state", "phase": "compute", "beats": 7, "idle": 0.5, "log": "a log"}
    channel.send(state)
    return channel


def until(monitor: Monitor, done: Callable[[], bool]) -> None:
    """Hear as a launcher does."""
    deadline = time.monotonic() + 60
    while not done() and time.monotonic() < deadline:
        wait_readable(monitor.sockets, 0.2)
        monitor.hear()
    assert done()


def both_are_heard(monitor: Monitor) -> bool:
    return monitor.job.all_here and all(view.beats == 7 for view in monitor.job.ranks.values())


def test_two_thousand_who_say_nothing(monitor: Monitor) -> None:
    first = rank(monitor, 0)
    silent = [stranger(monitor) for _ in range(SILENT)]
    try:
        second = rank(monitor, 1)
        until(monitor, lambda: both_are_heard(monitor))
        assert len(monitor.sockets) <= MAX_STRANGERS + 3
        # Control: the descriptors alone are too many for select.
        with pytest.raises(ValueError, match="out of range"):
            select.select(silent, [], [], 0)
        for channel in (first, second):
            channel.close()
    finally:
        for sock in silent:
            sock.close()


def test_who_says_nothing_is_left_after_a_while(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stranger(monitor) as silent:
        until(monitor, lambda: len(monitor.sockets) == 2)
        monkeypatch.setattr(module, "_HELLO_SECONDS", 0.0)
        until(monitor, lambda: len(monitor.sockets) == 1)
        assert silent.recv(1) == b""


HELLOS = [
    b'{"type": "hello", "rank": 0, "token": "\xc3\xbc"}\n',
    b'{"type": "hello", "rank": 0, "token": "\\ud800"}\n',
    b'{"type": "hello", "rank": 0, "token": ["nested"]}\n',
    b'{"type": "hello", "rank": 0}\n',
    b"[" * 200_000 + b"\n",
    b'{"token": ' * 200_000 + b"\n",
    b'{"rank": ' + b"9" * 10_000 + b"}\n",
    b"\x00\xff" * 5000,
]


@pytest.mark.parametrize("hello", HELLOS, ids=range(len(HELLOS)))
def test_a_false_hello_is_hung_up_on(monitor: Monitor, hello: bytes) -> None:
    with stranger(monitor) as other:
        other.sendall(hello)
        first, second = rank(monitor, 0), rank(monitor, 1)
        until(monitor, lambda: both_are_heard(monitor))
        until(monitor, lambda: len(monitor.sockets) == 3)
        first.close()
        second.close()


def test_a_flood_without_a_newline_is_cut_off_at_four_kilobytes(monitor: Monitor) -> None:
    with stranger(monitor) as other:
        other.setblocking(False)
        sent = 0

        def cut_off() -> bool:
            nonlocal sent
            try:
                sent += other.send(b"x" * 65536)
            except BlockingIOError:
                pass
            except OSError:
                return True
            return False

        until(monitor, cut_off)
        assert len(monitor.sockets) == 1
    # Control: a rank may send as much in one message.
    first = rank(monitor, 0)
    until(monitor, lambda: 0 in monitor.job.ranks)
    log = "x" * 5_000_000
    first.send({"type": "state", "phase": "data", "beats": 8, "idle": 0.5, "log": log})

    def heard() -> bool:
        first.flush()
        return monitor.job.ranks[0].log == log

    until(monitor, heard)
    first.close()


def test_a_rank_is_a_whole_number(monitor: Monitor) -> None:
    token = monitor.listener.address.rpartition(":")[2]
    for wrong in (True, "0", 0.0, None, [0]):
        with stranger(monitor) as other:
            hello = {"type": "hello", "token": token, "rank": wrong}
            until(monitor, lambda: len(monitor.sockets) == 2)
            other.sendall(json.dumps(hello).encode() + b"\n")
            until(monitor, lambda: len(monitor.sockets) == 1)
    assert monitor.job.ranks == {}
