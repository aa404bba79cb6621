"""Says that a build is at work.

pip keeps what its build hooks print, unless they fail. What is written to the terminal itself is
seen at once. Without a terminal pip says "still running" by itself, once a minute.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time

_EVERY_SECONDS = 5.0


def say(message: str) -> None:
    """One line on the terminal, and in the output that pip keeps (`pip install -v` shows it)."""
    print(f"horovod: {message}", flush=True, file=sys.stdout)
    with contextlib.suppress(OSError), open("/dev/tty", "w", encoding="utf-8") as terminal:
        # pip's spinner has left the cursor behind its own line.
        terminal.write(f"\r\033[K  horovod: {message}\n")


class Counter:
    """Says every few seconds how many of `total` are done."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._said = time.monotonic()
        self._lock = threading.Lock()

    def add(self) -> None:
        """One more is done. Thread-safe."""
        with self._lock:
            self._done += 1
            if time.monotonic() - self._said > _EVERY_SECONDS:
                self._said = time.monotonic()
                say(f"{self._what}: {self._done} of {self._total}")
