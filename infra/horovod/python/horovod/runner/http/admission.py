"""An HTTP server that talks only to clients who know a secret, whatever strangers send.

One thread reads the heads of all requests. Only a request whose head shows the secret gets a
thread of its own. A stranger may be silent, slow or many: each keeps at most `MAX_HEAD_BYTES` of
memory for `HEAD_SECONDS`, and when there are more than `MAX_PENDING` the oldest is dropped.
"""

import contextlib
import hmac
import io
import logging
import os
import selectors
import socket
import threading
import time

MAX_HEAD_BYTES = 16 * 1024
MAX_PENDING = 256
HEAD_SECONDS = 5.0

_HEAD_END = b"\r\n\r\n"
_REFUSED = b"HTTP/1.0 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
_BACKLOG = 1024
_READ_BYTES = 4096


class AdmittingServer:
    """Serves requests with `Authorization: Bearer SECRET`; anybody else gets 403.

    Args:
        address: (host, port) to listen on; the port must be free.
        handler: class of `http.server`'s kind, made for each request. It gets the request's
            bytes, which are partly read, by `rest_of_request`.
        secret: ASCII text.

    Raises:
        OSError: the address is in use, or is none of this host.
    """

    def __init__(self, address, handler, secret):
        self._handler = handler
        self._expected = b"Bearer " + secret.encode("ascii")
        self._pending = {}
        self._heads = {}
        self._is_stopping = False
        self._wake_r, self._wake_w = os.pipe()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.bind(address)
            self._socket.listen(_BACKLOG)
        except OSError:
            self.server_close()
            raise
        self._socket.setblocking(False)
        self.server_address = self._socket.getsockname()

    def serve_forever(self):
        """Answer until `shutdown`."""
        # Not select(), which knows no descriptors above 1,023.
        with selectors.DefaultSelector() as self._selector:
            self._selector.register(self._socket, selectors.EVENT_READ)
            self._selector.register(self._wake_r, selectors.EVENT_READ)
            while not self._is_stopping:
                timeout = None if not self._pending else HEAD_SECONDS / 10
                for key, _ in self._selector.select(timeout):
                    self._serve(key.fileobj)
                self._drop_late()
            for connection in list(self._pending):
                self._drop(connection)

    def shutdown(self):
        """Let `serve_forever` return."""
        self._is_stopping = True
        with contextlib.suppress(OSError):
            os.write(self._wake_w, b"x")

    def server_close(self):
        """Stop listening. Requests that are being answered go on."""
        self._socket.close()
        for end in (self._wake_r, self._wake_w):
            with contextlib.suppress(OSError):
                os.close(end)
        self._wake_r = self._wake_w = -1

    def rest_of_request(self, connection):
        """The bytes of an admitted request, from its first one."""
        return io.BufferedReader(_Resumed(self._heads.pop(connection), connection))

    def _serve(self, source):
        if source is self._socket:
            self._accept()
        elif source is not self._wake_r:
            self._read_head(source)

    def _accept(self):
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # Out of descriptors, or a client who is gone already.
            logging.debug("rendezvous server: %s", error)
            self._drop_oldest()
            time.sleep(0.01)
            return
        if len(self._pending) >= MAX_PENDING:
            self._drop_oldest()
        connection.setblocking(False)
        self._pending[connection] = (time.monotonic() + HEAD_SECONDS, bytearray())
        self._selector.register(connection, selectors.EVENT_READ)
        self._read_head(connection)

    def _read_head(self, connection):
        if connection not in self._pending:
            return
        head = self._pending[connection][1]
        try:
            part = connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        head += part
        if _HEAD_END in head:
            self._judge(connection, bytes(head))
        elif not part or len(head) > MAX_HEAD_BYTES:
            self._drop(connection)

    def _judge(self, connection, head):
        if not hmac.compare_digest(_authorization(head), self._expected):
            with contextlib.suppress(OSError):
                connection.send(_REFUSED)
            self._drop(connection)
            return
        self._forget(connection)
        connection.setblocking(True)
        self._heads[connection] = head
        threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection):
        try:
            self._handler(connection, self.server_address, self)
        except OSError as error:
            logging.debug("rendezvous server: %s", error)
        except Exception:
            logging.exception("rendezvous server: a request failed")
        finally:
            self._heads.pop(connection, None)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            connection.close()

    def _drop_late(self):
        now = time.monotonic()
        while self._pending:
            oldest = next(iter(self._pending))
            if self._pending[oldest][0] > now:
                return
            self._drop(oldest)

    def _drop_oldest(self):
        if self._pending:
            self._drop(next(iter(self._pending)))

    def _drop(self, connection):
        self._forget(connection)
        connection.close()

    def _forget(self, connection):
        self._selector.unregister(connection)
        del self._pending[connection]


class _Resumed(io.RawIOBase):
    """A connection of which the first bytes were read before."""

    def __init__(self, read_before, connection):
        self._before = read_before
        self._connection = connection

    def readable(self):
        return True

    def readinto(self, buffer):
        if not self._before:
            return self._connection.recv_into(buffer)
        count = min(len(buffer), len(self._before))
        buffer[:count] = self._before[:count]
        self._before = self._before[count:]
        return count


def _authorization(head):
    """The value of the header `Authorization` in the head of a request; empty if there is none."""
    for line in head.partition(_HEAD_END)[0].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"authorization":
            return value.strip()
    return b""
