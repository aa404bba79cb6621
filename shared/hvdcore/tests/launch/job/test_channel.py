from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvdcore.launch.supervisor.channel import Channel, Listener, Message, connect


@pytest.fixture(params=[None, "127.0.0.1"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    subject = Listener(tmp_path, request.param)
    yield subject
    subject.close()


def soon(receive: Channel, number: int) -> list[Message]:
    messages: list[Message] = []
    deadline = time.monotonic() + 30
    while len(messages) < number and receive.open and time.monotonic() < deadline:
        messages += receive.receive()
    return messages


def pair(listener: Listener) -> tuple[Channel, Channel, str]:
    caller, token = connect(listener.address)
    deadline = time.monotonic() + 30
    while (callee := listener.accept()) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert callee is not None
    return caller, callee, token


def test_messages_arrive_whole_and_in_order(listener: Listener) -> None:
    caller, callee, token = pair(listener)
    texts = ["", "line\nbreak", "\udcff raw byte", "ü" * 100_000]
    for text in texts:
        caller.send({"token": token, "text": text})
    while caller.unsent_bytes:
        caller.flush()
        callee_got = callee.receive()
        texts_got = [m["text"] for m in callee_got]
        assert texts[: len(texts_got)] == texts_got
        texts = texts[len(texts_got) :]
    assert [m["text"] for m in soon(callee, len(texts))] == texts
    caller.close()
    callee.close()


def test_who_does_not_know_the_token_is_not_admitted(tmp_path: Path) -> None:
    listener = Listener(tmp_path, "127.0.0.1")
    token = listener.address.rpartition(":")[2]
    assert listener.admits({"token": token})
    assert not listener.admits({"token": ""})
    assert not listener.admits({})
    listener.close()


def test_the_end_of_the_line_is_noticed_after_its_last_message(listener: Listener) -> None:
    caller, callee, _ = pair(listener)
    caller.send({"text": "last"})
    caller.close()
    assert soon(callee, 2) == [{"text": "last"}]
    assert not callee.open
    callee.close()


def test_nonsense_is_passed_over(listener: Listener) -> None:
    caller, callee, _ = pair(listener)
    caller.sock.send(b"GET / HTTP/1.1\n[1]\n{broken\n")
    caller.send({"text": "sense"})
    assert soon(callee, 1) == [{"text": "sense"}]
    caller.close()
    callee.close()


def test_sending_never_waits(listener: Listener) -> None:
    caller, callee, _ = pair(listener)
    for _ in range(100):
        caller.send({"text": "x" * 100_000})
    assert caller.unsent_bytes > 0
    caller.close()
    callee.close()
