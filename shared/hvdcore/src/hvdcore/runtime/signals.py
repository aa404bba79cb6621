"""Signals: a flag that the training loop reads, and a descriptor that supervisors select on."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = [
    "SAME_SIGNAL_SECONDS",
    "SignalInbox",
    "StopFlag",
    "interrupt_at_once",
    "own_process",
    "wait_readable",
]

# A launcher may pass on a signal that the terminal or scheduler already sent to us as well.
SAME_SIGNAL_SECONDS = 1.0
"""A signal that comes again within this time is the same one, on another way."""


class StopFlag:
    """Turns SIGTERM and SIGINT into `requested`, from construction until `close`.

    Every rank makes one, in the main thread. Signals reach ranks at different moments, so the
    ranks must agree at a step boundary (`any_rank(flag.requested)` of the adapter) before they
    save a checkpoint and leave with `exit_code`. A second signal ends the process at once.

    Example:
        >>> with StopFlag() as flag:
        ...     flag.requested
        False
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._first_at = 0.0
        self._before = {s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT)}

    @property
    def requested(self) -> bool:
        """True once this rank was asked to stop."""
        return self.signal_number is not None

    @property
    def exit_code(self) -> int:
        """128 + signal: 143 for SIGTERM (also when only another rank got it), 130 for SIGINT."""
        return 128 + (self.signal_number or signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal_number is None:
            self.signal_number, self._first_at = number, now
        elif now - self._first_at > SAME_SIGNAL_SECONDS:
            os._exit(128 + number)

    def close(self) -> None:
        """Put back the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __enter__(self) -> StopFlag:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_owns_process = False


def own_process() -> None:
    """Note that this process runs one of our commands, and is no notebook."""
    global _owns_process
    _owns_process = True


@contextmanager
def interrupt_at_once() -> Iterator[None]:
    """Around native code that runs for minutes, or a thread that is waited for: Ctrl-C ends the
    process at once, as SIGTERM does. Python would raise KeyboardInterrupt only after the call, and
    leave a pool of threads only after their work.

    Does nothing in a process that is not a command's, in other threads than the main one, and where
    somebody handles SIGINT.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not (_owns_process and is_main) or (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_readable(fds: Iterable[int], seconds: float) -> None:
    """Wait until there is something to read from one of these, at most `seconds`.

    `select.select` ends the process with a ValueError at descriptor 1024; this one has no limit.
    """
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    poll.poll(seconds * 1000)


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
        self._wants_stacks = False
        numbers = (*_STOP_SIGNALS, signal.SIGCHLD, signal.SIGUSR1)
        # A Python handler must be there, or the interpreter writes nothing to the pipe.
        self._before = {n: signal.signal(n, lambda *_: None) for n in numbers}

    def take_stop_signal(self) -> int | None:
        """The last stop signal that arrived since the last call: SIGINT or SIGTERM (SIGHUP too)."""
        try:
            received = os.read(self.fd, 4096)
        except BlockingIOError:
            return None
        self._wants_stacks |= signal.SIGUSR1 in received
        stops = [n for n in received if n in _STOP_SIGNALS]
        if not stops:
            return None
        return signal.SIGINT if stops[-1] == signal.SIGINT else signal.SIGTERM

    def take_stacks_request(self) -> bool:
        """Whether SIGUSR1 was among what `take_stop_signal` has read since the last call."""
        wanted, self._wants_stacks = self._wants_stacks, False
        return wanted

    def close(self) -> None:
        """Put everything back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.fd)
        os.close(self._write_fd)

    def __enter__(self) -> SignalInbox:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
