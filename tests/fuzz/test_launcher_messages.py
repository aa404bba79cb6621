"""What reaches the launcher's port: any bytes of strangers, any messages of ranks."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvdcore.launch.hosts.facts import HostFacts
from hvdcore.launch.job.monitor import Monitor
from hvdcore.launch.supervisor.channel import Channel, LauncherConnection, Listener, connect

pytestmark = pytest.mark.fuzz

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
NAMES = ["rank", "token", "fd", "text", "phase", "beats", "idle", "log", "code", "kind", "errors"]
TYPES = st.sampled_from(["hello", "console", "state", "end", "stop", "abort", "release"]) | JSON
MESSAGE = st.builds(
    lambda kind, values: {"type": kind, **values},
    TYPES, st.dictionaries(st.sampled_from(NAMES) | st.text(), JSON, max_size=6),
)  # fmt: skip


@contextmanager
def monitor() -> Iterator[Monitor]:
    with tempfile.TemporaryDirectory() as folder:
        subject = Monitor(Listener(Path(folder), "127.0.0.1"), 2, 300.0, lambda fd, raw: None)
        yield subject
        subject.close()


def meet(subject: Monitor, number: int) -> Channel:
    channel, token = connect(subject.listener.address)
    channel.send({"type": "hello", "rank": number, "token": token})
    while number not in subject.job.ranks:
        subject.hear()
    return channel


MISTAKES: list[dict[str, Any]] = [
    {"type": "console", "fd": 1, "text": 7},
    {"type": "console", "fd": 1e999, "text": "x"},
    {"type": "state", "phase": "data", "beats": 1e999, "idle": 0, "log": ""},
    {"type": "end", "rank": 0, "code": "many", "kind": 1},
    {"type": "console", "fd": 1, "text": "\ud800"},
]


@pytest.mark.parametrize("message", MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes_found_once(message: dict[str, Any]) -> None:
    with monitor() as subject:
        ours = meet(subject, 0)
        ours.send(message)
        sync(subject, ours, 3)
        ours.close()


def sync(subject: Monitor, channel: Channel, beats: int) -> None:
    """Hear until a message that is in order has come through."""
    state = {"type": "state", "phase": "compute", "beats": beats, "idle": 0.0, "log": "log"}
    channel.send(state)
    while subject.job.ranks[0].beats != beats:
        channel.flush()
        subject.hear()


@settings(deadline=None)
@given(sent=st.binary() | MESSAGE.map(lambda message: json.dumps(message).encode() + b"\n"))
def test_strangers(sent: bytes) -> None:
    with monitor() as subject:
        other, _ = connect(subject.listener.address)
        other.sock.send(sent or b"\n")
        ours = meet(subject, 0)
        sync(subject, ours, 3)
        assert list(subject.job.ranks) == [0]
        subject.verdict()
        ours.close()
        other.close()


@settings(deadline=None)
@given(messages=st.lists(MESSAGE, max_size=4))
def test_ranks(messages: list[dict[str, Any]]) -> None:
    with monitor() as subject:
        ours = meet(subject, 0)
        for message in messages:
            ours.send(message)
        sync(subject, ours, 3)
        verdict = subject.verdict()
        assert verdict is None or all(isinstance(line, str) for line in verdict.lines)
        ours.close()


@settings(deadline=None)
@given(messages=st.lists(MESSAGE, max_size=4))
def test_orders(messages: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        listener = Listener(Path(folder), None)
        channel, _ = connect(listener.address)
        line = LauncherConnection(channel)
        launcher = listener.accept()
        assert launcher is not None
        for message in [*messages, {"type": "release"}]:
            launcher.send(message)
        while not line.orders.was_released:
            line.listen()
        assert set(line.orders.stop_signals) <= {signal.SIGTERM, signal.SIGINT}
        launcher.close()
        channel.close()
        listener.close()


@settings(deadline=None)
@given(values=st.dictionaries(st.sampled_from(["python", "cores", "route"]) | st.text(), JSON))
def test_facts(values: dict[str, Any]) -> None:
    with pytest.raises((TypeError, KeyError)):  # `ask_host` makes one line of them
        HostFacts.from_json(values)
