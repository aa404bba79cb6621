"""What goes wrong with the file of a study, as one line: damaged, removed, or another program's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from hvdcore.errors import UserError
from hvdcore.tune.folder import StudyFolder

__all__ = ["check_complete", "storage_errors"]

_FIX = "copy it from a backup, or give another --output-dir"


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Errors of the storage at `path` in the block become a UserError."""
    try:
        yield
    # Text in a damaged file may be no text.
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be used ({_reason(error)}); {_FIX}") from error


def _reason(error: BaseException) -> str:
    """What SQLite itself said, below what SQLAlchemy and Optuna make of it."""
    while True:
        inner = getattr(error, "orig", None) or error.__cause__
        if inner is None:
            return str(error).split("\n")[0]
        error = inner


def check_complete(folder: StudyFolder, num_trials: int) -> None:
    """Check that the storage of a study that was opened knows the trials that have folders.

    Args:
        num_trials: how many it knows.

    Raises:
        UserError: it knows none, and new ones would be started in the folders of others.
    """
    if num_trials == 0 and any(folder.trials.glob("*")):
        raise UserError(
            f"{folder.storage}: the record of the trials in {folder.trials} is missing; {_FIX}"
        )
