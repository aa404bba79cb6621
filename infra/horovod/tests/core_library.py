"""Where the core library under test is."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest


def core_library() -> Path:
    """HOROVOD_LIBRARY, or the one of the Horovod that is installed here; skips without one."""
    named = os.environ.get("HOROVOD_LIBRARY")
    if named:
        return Path(named)
    spec = importlib.util.find_spec("horovod")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        found = Path(folder, "lib", "libhorovod.so")
        if found.is_file():
            return found
    pytest.skip("no Horovod is installed here: pip install ./infra/horovod, or set HOROVOD_LIBRARY")
