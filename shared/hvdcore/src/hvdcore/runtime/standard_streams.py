"""Standard input, output and error that are closed, or cannot be written (a full disk)."""

from __future__ import annotations

import contextlib
import os
import sys

__all__ = ["discard", "open_closed_streams"]


def open_closed_streams() -> None:
    """Open on the null device what the caller has closed of streams 0 to 2.

    A file or socket that is opened next would get such a number, and prints would go into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8", errors="replace"))  # noqa: SIM115


def discard(number: int) -> None:
    """From now on what is written on stream 1 or 2 is dropped, what it still holds included."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)
