"""Owns signals as something to select on, for processes that watch others."""

from __future__ import annotations

import os
import signal
from types import TracebackType

__all__ = ["SignalInbox"]

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class SignalInbox:
    """While open, stop signals and the end of children arrive as bytes at `fd`.

    Only the main thread can open one.
    """

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        self._wakeup_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        numbers = (*_STOP_SIGNALS, signal.SIGCHLD)
        # A Python handler must be there, or the interpreter writes nothing to the pipe.
        self._before = {n: signal.signal(n, lambda *_: None) for n in numbers}

    def take_stop_signal(self) -> int | None:
        """The last stop signal that arrived since the last call: SIGINT or SIGTERM (SIGHUP too)."""
        try:
            received = os.read(self.fd, 4096)
        except BlockingIOError:
            return None
        stops = [n for n in received if n in _STOP_SIGNALS]
        if not stops:
            return None
        return signal.SIGINT if stops[-1] == signal.SIGINT else signal.SIGTERM

    def close(self) -> None:
        """Put everything back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.fd)
        os.close(self._write_fd)

    def __enter__(self) -> SignalInbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
