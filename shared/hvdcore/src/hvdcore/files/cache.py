"""The lock of a cache entry: one process at a time builds a prepared data set."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from hvdcore.errors import UserError
from hvdcore.files.atomic import make_folder, writing

__all__ = ["CacheLock", "default_cache_dir", "expand_user"]

_POLL_SECONDS = 0.1
_ELSEWHERE = "set XDG_CACHE_HOME to a folder on another disk"


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
        """Take the lock.

        Raises:
            UserError: the cache cannot be written, or its file system has no locks.
        """
        make_folder(self._path.parent, _ELSEWHERE)
        self._file = self._path.open("ab")
        try:
            with writing(self._path, _ELSEWHERE):
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
    `~/.cache/<package>`; without a home, as containers with any user id have none, in the folder
    for temporary files.

    Raises:
        UserError: that folder belongs to somebody else.
    """
    if own := os.environ.get(f"{package.upper()}_CACHE"):
        return expand_user(own)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return expand_user(base) / package
    try:
        return Path("~/.cache").expanduser() / package
    except RuntimeError:
        return _private_folder() / package


def expand_user(path: str | Path) -> Path:
    """The path with the user's home for `~`; as it is where nobody knows that home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _private_folder() -> Path:
    path = Path(tempfile.gettempdir()) / f"hvdcore-cache-{os.getuid()}"
    with writing(path, "set XDG_CACHE_HOME to a folder"):
        path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path}: not a folder of ours; set XDG_CACHE_HOME to a folder")
    return path
