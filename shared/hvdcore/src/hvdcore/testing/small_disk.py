"""Owns disks for tests that are really full or really read-only: small ones, in memory."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NoDisk", "small_disk"]


class NoDisk(OSError):
    """Nothing can be mounted here; says why."""


@contextmanager
def small_disk(
    folder: Path, *, kilobytes: int = 1024, is_read_only: bool = False
) -> Iterator[Path]:
    """A file system of its own at `folder`, which is made and must not exist.

    Raises:
        NoDisk: mounting needs root, and a machine that lets root do it.
    """
    if shutil.which("mount") is None or os.geteuid() != 0:
        raise NoDisk("mounting a small disk needs root and mount")
    folder.mkdir()
    options = f"size={kilobytes}k" + (",ro" if is_read_only else "")
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoDisk(f"this machine lets nobody mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a test that failed may still hold a file open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
