"""The lock of a cache entry: one process at a time builds a prepared data set."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

__all__ = ["CacheLock", "default_cache_dir"]

_POLL_SECONDS = 0.1


class CacheLock:
    """Holds the lock of one request; inside, `work` is an empty folder of its own.

    The kernel gives the lock back when its holder dies in any way. What a killed holder left
    lies in the folder that the next holder empties.

    Args:
        on_wait: called again and again while another process holds the lock.
    """

    def __init__(
        self, cache: Path, request: str, on_wait: Callable[[], None] = lambda: None
    ) -> None:
        self._path = cache / "work" / f"{request[:32]}.lock"
        self._work = self._path.with_suffix("")
        self._on_wait = on_wait
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        try:
            while not _locked(self._file):
                self._on_wait()
                time.sleep(_POLL_SECONDS)
            shutil.rmtree(self._work, ignore_errors=True)
            self._work.mkdir()
        except BaseException:
            self._file.close()
            raise
        return self._work

    def __exit__(self, *exception: object) -> None:
        assert self._file is not None
        shutil.rmtree(self._work, ignore_errors=True)
        # The lock's file stays: removing it would let two processes hold "the" lock.
        self._file.close()


def _locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def default_cache_dir(package: str) -> Path:
    """`$<PACKAGE>_CACHE` (such as `TEXTGEN_CACHE`), else `$XDG_CACHE_HOME/<package>`, else
    `~/.cache/<package>`."""
    if own := os.environ.get(f"{package.upper()}_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / package
