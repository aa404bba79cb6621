"""Owns the file of a study: SQLite, so that whatever kills a tuner leaves every trial that ended.

Not Optuna's journal, though it needs no more than this: both come with Optuna, but one torn last
line makes a journal unreadable, and its lock outlives a killed holder by half a minute.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path

from optuna.storages import RDBStorage

__all__ = ["open_storage"]


def open_storage(path: Path) -> RDBStorage:
    """The storage in an SQLite file, made when it is not there."""
    file = path.resolve()
    return RDBStorage(f"sqlite:///{file}", engine_kwargs={"creator": partial(_connect, file)})


def _connect(path: Path) -> sqlite3.Connection:
    """A write-ahead log waits for the disk once in a while, in place of twenty times a trial: a
    kill loses nothing, and a power cut the last moments at most, never the file."""
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection
