"""The connection between the launcher and the supervisors: JSON, one message per line."""

from __future__ import annotations

import hmac
import json
import secrets
import socket
from pathlib import Path
from typing import Any

__all__ = ["Channel", "Listener", "Message", "connect"]

Message = dict[str, Any]
_READ_BYTES = 1 << 16
_CONNECT_SECONDS = 10.0
# A host that was cut off closes no connection: the kernel asks it for a sign of life, and the time
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
        self._incoming = b""
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
        """The whole messages that have arrived; `open` turns False at the end of the stream."""
        while self.open:
            try:
                raw = self.sock.recv(_READ_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                raw = b""
            if not raw:
                self.open = False
            self._incoming += raw
        *lines, self._incoming = self._incoming.split(b"\n")
        return [message for line in lines if (message := _parse(line)) is not None]

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
    except ValueError:
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
        self.sock.listen(1024)
        self.sock.setblocking(False)

    def accept(self) -> Channel | None:
        """The next caller, if there is one."""
        try:
            return Channel(self.sock.accept()[0])
        except OSError:
            return None

    def admits(self, hello: Message) -> bool:
        """Whether a caller's first message proves that it belongs to this job."""
        return hmac.compare_digest(str(hello.get("token", "")), self._token)

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
