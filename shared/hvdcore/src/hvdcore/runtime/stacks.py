"""The rank's side of stacks on demand: SIGUSR1 writes the Python frames of all threads to a file.

The handler is faulthandler's, in C: it also answers while the main thread waits inside of Horovod,
and it costs nothing until the signal comes.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path
from typing import BinaryIO

from hvdcore.runtime.environment import STACKS

__all__ = ["write_stacks_for_supervisor", "write_stacks_to"]

_file: BinaryIO | None = None  # faulthandler keeps only the number of the descriptor


def write_stacks_to(path: Path | str) -> None:
    """From now on SIGUSR1 appends this process's stacks to the file `path`.

    A handler in Python that is there already is called afterwards. Where the file cannot be
    opened, or the system has no such signal, everything stays as it is.
    """
    global _file
    if not hasattr(faulthandler, "register"):
        return
    try:
        file = open(path, "ab", buffering=0)  # noqa: SIM115
    except OSError:
        return
    # To chain to the default action would be to end the process.
    chain = callable(signal.getsignal(signal.SIGUSR1))
    faulthandler.register(signal.SIGUSR1, file=file, all_threads=True, chain=chain)
    if _file is not None:
        _file.close()
    _file = file


def write_stacks_for_supervisor() -> None:
    """In a supervised rank: SIGUSR1 writes to the file that its supervisor reads."""
    path = os.environ.get(STACKS)
    if path:
        write_stacks_to(path)
