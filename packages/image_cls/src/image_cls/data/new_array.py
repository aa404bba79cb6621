"""An array in a new file, whose place on the disk is taken before anything is written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["new_array"]


def new_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A memory map of a new `.npy` file, of zeros.

    A map of a file with holes ends the process (SIGBUS) when the disk is full at the moment of
    writing, and no `except` sees it.

    Raises:
        OSError: ENOSPC, the disk has no place for it.
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
