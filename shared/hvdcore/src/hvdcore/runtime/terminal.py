"""The user's terminal for rank 0, although pipes and sockets lie between them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import struct
import sys
import termios
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, TextIO

from hvdcore.runtime.environment import TERMINAL

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "open_terminal", "share_terminal", "write_fd"]

_ANY_WIDTH = 100_000
_full: set[int] = set()
"""Streams that were found full."""
_VALUE = re.compile(r"^(?P<streams>[12]+):(?P<columns>\d+)x(?P<rows>\d+)$")


def console(stream: TextIO | None = None) -> Console:
    """A console of rich for tables; in a pipe they are as wide as they are, without colors.

    FORCE_COLOR makes no terminal of a pipe: Jupyter sets it for all processes, and rich would then
    cut tables to 80 columns.

    Args:
        stream: where to; default stdout.
    """
    from rich.console import Console

    stream = stream or sys.stdout
    if stream.isatty():
        return Console(file=stream)
    return Console(file=stream, force_terminal=False, no_color=True, width=_ANY_WIDTH)


def share_terminal(env: MutableMapping[str, str]) -> None:
    """In the launcher: tell the ranks which of our streams are a terminal, and its size."""
    env.pop(TERMINAL, None)
    streams = "".join(str(s.fileno()) for s in (sys.__stdout__, sys.__stderr__) if s and s.isatty())
    if not re.fullmatch("[12]+", streams):
        return
    with contextlib.suppress(OSError):
        columns, rows = os.get_terminal_size(int(streams[-1]))
        env[TERMINAL] = f"{streams}:{columns}x{rows}"


def open_terminal(stream: int, env: Mapping[str, str]) -> tuple[int, int] | None:
    """In rank 0's supervisor: a terminal of the user's size for stream 1 or 2, if it is to be one.

    Returns:
        The descriptors of our end and of the child's end, or None where a pipe will do.
    """
    match = _VALUE.match(env.get(TERMINAL, ""))
    if match is None or str(stream) not in match["streams"]:
        return None
    try:
        ours, childs = os.openpty()
    except OSError:
        return None
    size = struct.pack("HHHH", int(match["rows"]), int(match["columns"]), 0, 0)
    fcntl.ioctl(childs, termios.TIOCSWINSZ, size)
    attributes = termios.tcgetattr(childs)
    attributes[1] &= ~termios.OPOST  # the real terminal turns newlines into what it needs
    termios.tcsetattr(childs, termios.TCSANOW, attributes)
    return ours, childs


def write_fd(fd: int, raw: bytes) -> None:
    """Write with one system call where the kernel allows; a reader that has gone is no error.

    What a full disk does not take of standard output is lost, which standard error says once.
    """
    try:
        while raw:
            raw = raw[os.write(fd, raw) :]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and fd not in _full:
            _full.add(fd)
            line = f"warning: standard output: {error.strerror}; what is printed there is lost\n"
            if fd == 1:
                write_fd(2, line.encode())
