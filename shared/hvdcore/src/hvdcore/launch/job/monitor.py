"""Owns the launcher's conversation with the ranks' supervisors."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from hvdcore.launch.job.verdict import Job, RankView, Verdict
from hvdcore.launch.supervisor.channel import Channel, Listener, Message
from hvdcore.launch.supervisor.outcome import RankEnd

__all__ = ["Monitor"]


class Monitor:
    """Hears every rank, shows what they say, and passes orders on.

    Args:
        listener: where the supervisors call.
        size: number of ranks expected.
        timeout: stall time-out in seconds.
        show: puts bytes on console stream 1 or 2.
    """

    def __init__(
        self, listener: Listener, size: int, timeout: float, show: Callable[[int, bytes], None]
    ) -> None:
        self.job = Job(size, timeout)
        self.listener = listener
        self.show = show
        self._strangers: list[Channel] = []
        self._channels: dict[int, Channel] = {}
        self._warnings: set[bytes] = set()

    @property
    def sockets(self) -> list[int]:
        """What to wait on for news."""
        channels = [*self._strangers, *self._channels.values()]
        return [self.listener.sock.fileno(), *(c.sock.fileno() for c in channels)]

    @property
    def is_empty(self) -> bool:
        """No supervisor is connected."""
        return not self._channels

    def hear(self) -> None:
        """Take in everything that has arrived."""
        now = time.monotonic()
        while channel := self.listener.accept():
            self._strangers.append(channel)
        for stranger in list(self._strangers):
            self._meet(stranger, now)
        for rank, channel in list(self._channels.items()):
            channel.flush()
            self._take(rank, channel, channel.receive(), now)

    def _meet(self, stranger: Channel, now: float) -> None:
        messages = stranger.receive()
        if not messages:
            if not stranger.open:
                self._strangers.remove(stranger)
            return
        self._strangers.remove(stranger)
        hello, *rest = messages
        rank = hello.get("rank")
        good = hello.get("type") == "hello" and self.listener.admits(hello)
        if not good or not isinstance(rank, int) or rank in self._channels:
            stranger.close()
            return
        self._channels[rank] = stranger
        self.job.ranks[rank] = RankView(rank, now)
        self._take(rank, stranger, rest, now)

    def _take(self, rank: int, channel: Channel, messages: list[Message], now: float) -> None:
        view = self.job.ranks[rank]
        for message in messages:
            view.heard_at = now
            with contextlib.suppress(KeyError, TypeError, ValueError):
                self._one(view, message, now)
        if not channel.open:
            channel.close()
            del self._channels[rank]
            if view.end is None:
                self.job.lost(rank, now)

    def _one(self, view: RankView, message: Message, now: float) -> None:
        kind = message["type"]
        if kind == "console":
            self._show(int(message["fd"]), message["text"].encode("utf-8", "surrogateescape"))
        elif kind == "state":
            view.phase, view.beats = str(message["phase"]), int(message["beats"])
            view.idle, view.log = float(message["idle"]), str(message["log"])
        elif kind == "end":
            self.job.end(RankEnd.from_message(message), now)

    def _show(self, fd: int, raw: bytes) -> None:
        """All ranks often warn of the same thing; the user reads it once."""
        if raw.startswith(b"[rank "):
            text = raw.partition(b"] ")[2]
            if text in self._warnings:
                return
            self._warnings.add(text)
        elif raw.startswith(b"warning: "):
            self._warnings.add(raw)
        self.show(1 if fd == 1 else 2, raw)

    def order(self, message: Message) -> None:
        """Tell every rank."""
        for channel in self._channels.values():
            channel.send(message)

    def verdict(self) -> Verdict | None:
        """The verdict over the job so far, None while it is to go on."""
        return self.job.verdict(time.monotonic())

    def close(self) -> None:
        """Hang up. Supervisors that are still there take it as the order to end."""
        for channel in [*self._strangers, *self._channels.values()]:
            channel.close()
        self._channels.clear()
        self.listener.close()
