"""Owns who may build a corpus in the cache, and what a failing disk there is called."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hvdcore.errors import UserError

__all__ = ["CacheLock", "disk_errors"]

_POLL_SECONDS = 0.1
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


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


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Name the folder and the fix when writing below it fails.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise UserError(
                f"cache: {folder}: {_reason(error)}; free some or {_ELSEWHERE}"
            ) from error
        if error.errno in (*_NOT_WRITABLE, errno.ENOTDIR, errno.EEXIST):
            raise UserError(f"cache: {folder}: {_reason(error)}; {_ELSEWHERE}") from error
        raise


_ELSEWHERE = "point TEXTGEN_CACHE (or XDG_CACHE_HOME) elsewhere"


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or 0).lower()
