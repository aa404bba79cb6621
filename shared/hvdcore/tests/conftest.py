"""What every test of hvdcore may use: disks that are really full or read-only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from hvdcore.testing.faults import NoDisk, small_disk

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


@contextmanager
def mounted(folder: Path, *, is_read_only: bool = False) -> Iterator[Path]:
    """A file system of 1 MB in memory at `folder`."""
    try:
        with small_disk(folder, is_read_only=is_read_only) as disk:
            yield disk
    except NoDisk as reason:
        pytest.skip(str(reason))


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 1 MB: empty, but anything real fills it."""
    with mounted(tmp_path / "full") as folder:
        yield folder


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written: on a disk mounted read-only, or without permission."""
    if os.geteuid() != 0:
        folder = tmp_path / "read_only"
        folder.mkdir(mode=0o555)
        yield folder
        return
    with mounted(tmp_path / "read_only", is_read_only=True) as folder:
        yield folder
