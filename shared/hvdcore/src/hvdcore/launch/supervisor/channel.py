"""Both ends of the connection between launcher and supervisors: JSON, one message per line."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import shutil
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.launch.supervisor.outcome import RankEnd, Watch
from hvdcore.launch.supervisor.processes import kill_orphans
from hvdcore.runtime.environment import JOB, MONITOR
from hvdcore.runtime.terminal import write_fd
from hvdcore.runtime.world import World

__all__ = [
    "Channel",
    "LauncherConnection",
    "Listener",
    "Message",
    "Orders",
    "connect",
    "connect_to_launcher",
]

Message = dict[str, Any]
_READ_BYTES = 1 << 16
_MAX_UNSENT_BYTES = 1 << 20
# What one call of `receive` takes, so that nobody who sends without end keeps the others waiting.
_READ_AT_ONCE_BYTES = 1 << 20
# A rank's longest message is what its pipe held at one moment; a stranger's first is a few words.
_MAX_MESSAGE_BYTES = 1 << 26
_MAX_HELLO_BYTES = 1 << 12
_REPORT_SECONDS = 0.5
_CONNECT_SECONDS = 10.0
# A host that was cut off closes no connection: the kernel sends keepalive probes, and the time
# after which it gives up does not depend on how busy either end is.
_LOST_AFTER_SECONDS = 20
_ASK_EVERY_SECONDS = 4


class Channel:
    """One end of a connection. Sending never blocks; what the other end has not taken waits."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            _notice_a_lost_host(sock)
        self.sock = sock
        self.open = True
        self._max_message_bytes = _MAX_MESSAGE_BYTES
        self._incoming = bytearray()
        self._outgoing = bytearray()

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait for the other end."""
        return len(self._outgoing)

    def send(self, message: Message) -> None:
        """Queue a message and send what can be sent now."""
        self._outgoing += json.dumps(message).encode("ascii") + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what can be sent without waiting."""
        try:
            while self.open and self._outgoing:
                del self._outgoing[: self.sock.send(self._outgoing)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.open = False

    def receive(self) -> list[Message]:
        """The whole messages that have arrived, of the next megabyte at most.

        `open` turns False at the end of the stream, or when a message is too long.
        """
        lines: list[bytes] = []
        for _ in range(_READ_AT_ONCE_BYTES // _READ_BYTES):
            raw = self._read()
            if raw is None:
                break
            first, *others = raw.split(b"\n")
            self._incoming += first
            for line in others:
                lines.append(bytes(self._incoming))
                self._incoming = bytearray(line)
        if max(map(len, [*lines, self._incoming])) > self._max_message_bytes:
            self.open = False
            lines = [line for line in lines if len(line) <= self._max_message_bytes]
            self._incoming = bytearray()
        return [message for line in lines if (message := _parse(line)) is not None]

    def _read(self) -> bytes | None:
        """The next bytes; None when there are none for now, or no more."""
        if not self.open:
            return None
        try:
            raw = self.sock.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            raw = b""
        self.open = bool(raw)
        return raw or None

    def expect_hello(self, expected: bool) -> None:
        """Whether the other end is a stranger, who may send few bytes before it is known."""
        self._max_message_bytes = _MAX_HELLO_BYTES if expected else _MAX_MESSAGE_BYTES

    def close(self) -> None:
        """Close the connection."""
        self.open = False
        self.sock.close()


def _notice_a_lost_host(sock: socket.socket) -> None:
    """Both ends: the launcher hears of the loss, and a host cut off from it ends its ranks."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT") and hasattr(socket, "TCP_KEEPIDLE"):
        tries = _LOST_AFTER_SECONDS // _ASK_EVERY_SECONDS
        for option, value in (
            (socket.TCP_KEEPIDLE, _ASK_EVERY_SECONDS),
            (socket.TCP_KEEPINTVL, _ASK_EVERY_SECONDS),
            (socket.TCP_KEEPCNT, tries),
            (socket.TCP_USER_TIMEOUT, _LOST_AFTER_SECONDS * 1000),
        ):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _parse(line: bytes) -> Message | None:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):  # what strangers send may be nested without end
        return None
    return message if isinstance(message, dict) else None


class Listener:
    """The launcher's end, where supervisors call.

    When every rank is on this host it is a socket file in the job's private folder, which the
    kernel keeps to its owner. Over the network, at our address `host`, callers must know a random
    token.
    """

    def __init__(self, folder: Path, host: str | None) -> None:
        self._token = ""
        if host is None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(str(folder / "monitor"))
            self.address = f"unix:{folder / 'monitor'}"
        else:
            self._token = secrets.token_urlsafe(32)
            self.sock = socket.create_server((host, 0))
            self.address = f"tcp:{host}:{self.sock.getsockname()[1]}:{self._token}"
        self.sock.listen(4096)
        self.sock.setblocking(False)

    def accept(self) -> Channel | None:
        """The next caller, if there is one."""
        try:
            return Channel(self.sock.accept()[0])
        except OSError:
            return None

    def admits(self, hello: Message) -> bool:
        """Whether a caller's first message proves that it belongs to this job."""
        token = str(hello.get("token", "")).encode("utf-8", "replace")
        return hmac.compare_digest(token, self._token.encode("ascii"))

    def close(self) -> None:
        """Stop listening."""
        self.sock.close()


def connect(address: str) -> tuple[Channel, str]:
    """Call the launcher. Returns the channel and the token to show in the first message.

    Raises:
        OSError: nobody answers at the address.
    """
    kind, _, rest = address.partition(":")
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(_CONNECT_SECONDS)
        sock.connect(rest)
        return Channel(sock), ""
    host, port, token = rest.rsplit(":", 2)
    return Channel(socket.create_connection((host, int(port)), _CONNECT_SECONDS)), token


@dataclass
class Orders:
    """The launcher's orders to this rank so far."""

    stop_signals: list[int] = field(default_factory=list)
    abort: bool = False
    release: bool = False
    was_released: bool = False  # in words, not because the line broke
    stacks: bool = False
    stacks_taken: bool = False


class LauncherConnection:
    """Speaks to the launcher, or, under plain horovodrun, mpirun or srun, to the console."""

    def __init__(self, channel: Channel | None) -> None:
        self.channel = channel
        self.orders = Orders()
        self._reported_at = 0.0

    @property
    def is_clogged(self) -> bool:
        """The launcher does not take what was sent; then the rank's output has to wait."""
        return self.channel is not None and self.channel.unsent_bytes > _MAX_UNSENT_BYTES

    def show(self, fd: int, raw: bytes) -> None:
        """Put bytes on the user's console, stream 1 or 2."""
        if self.channel is None:
            write_fd(fd, raw)
        else:
            text = raw.decode("utf-8", "surrogateescape")
            self.channel.send({"type": "console", "fd": fd, "text": text})

    def report(self, watch: Watch, log: str, now: float) -> None:
        """Say, now and then, what the rank does and since when."""
        if self.channel is None or now - self._reported_at < _REPORT_SECONDS:
            return
        self._reported_at = now
        beat = watch.beat
        state = {"type": "state", "phase": beat.phase, "step": beat.step, "beats": beat.number}
        self.channel.send({**state, "idle": watch.idle_seconds(now), "log": log})

    def send_end(self, end: RankEnd) -> None:
        """Tell how the rank ended. `orders.release` or a closed line is the answer."""
        if self.channel is not None:
            self.channel.send(end.as_message())

    def clean_up_for_launcher(self) -> None:
        """A launcher that was killed leaves its folder, and mpirun, which waits for long before it
        ends. Rank 0 does away with both: it is on the launcher's host.
        """
        if self.channel is None or self.channel.open or self.orders.was_released:
            return
        kill_orphans(JOB, os.environ[JOB])
        kind, _, path = os.environ.get(MONITOR, "").partition(":")
        if kind == "unix":
            folder = Path(path).parent
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(Path("/dev/shm") / folder.name, ignore_errors=True)

    def listen(self) -> None:
        """Take in the launcher's orders. A launcher that has gone means: abort."""
        if self.channel is None:
            return
        self.channel.flush()
        for message in self.channel.receive():
            self._obey(message)
        if not self.channel.open:
            self.orders.abort = self.orders.release = True

    def _obey(self, message: Message) -> None:
        kind = message.get("type")
        if kind == "stop":
            number = message.get("signal")
            if type(number) is int and number in (signal.SIGTERM, signal.SIGINT):
                self.orders.stop_signals.append(number)
        elif kind == "abort":
            self.orders.abort = True
        elif kind == "stacks":
            self.orders.stacks = True
        elif kind == "stacks-taken":
            self.orders.stacks_taken = True
        elif kind == "release":
            self.orders.release = self.orders.was_released = True


def connect_to_launcher(world: World) -> LauncherConnection:
    """Call the launcher whose address is in the environment and introduce this rank.

    Raises:
        UserError: there is an address, and nobody answers.
    """
    address = os.environ.get(MONITOR)
    if not address:
        return LauncherConnection(None)
    try:
        channel, token = connect(address)
    except OSError as error:
        raise UserError(
            f"launcher: rank {world.rank} on {os.uname().nodename} cannot reach it ({error}); "
            "let the hosts connect to each other, or start with horovodrun itself"
        ) from None
    place = {"rank": world.rank, "size": world.size, "host": os.uname().nodename}
    channel.send({"type": "hello", "token": token, "pid": os.getpid(), **place})
    return LauncherConnection(channel)
