"""Fixtures for the Horovod wheel: its backend on the path, the real source, a cold cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "backend"), str(PROJECT / "tests")]

from horovod_wheel import source  # noqa: E402
from horovod_wheel.errors import BuildError  # noqa: E402
from horovod_wheel.settings import read_settings  # noqa: E402

StartHook = Callable[..., "subprocess.Popen[str]"]
_CALL = (
    "import sys; sys.path.insert(0, 'backend'); from horovod_wheel import hooks;"
    "print(getattr(hooks, sys.argv[1])(*sys.argv[2:]))"
)


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Horovod's published source archive, hash checked."""
    try:
        return source.fetch(read_settings(os.environ), tmp_path_factory.mktemp("download"))
    except BuildError as error:
        pytest.skip(f"no source at hand: {error}")


@pytest.fixture
def tree(sdist: Path, tmp_path: Path) -> Path:
    """Horovod's source as published, unpacked."""
    return source.unpack(sdist, tmp_path)


@pytest.fixture
def build_env(sdist: Path, tmp_path: Path) -> dict[str, str]:
    """An environment with a cold cache of its own, in which no variable of Horovod's is set."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HOROVOD_", "HVD_"))}
    return {**clean, "HVD_CACHE": str(tmp_path / "cache"), "HVD_HOROVOD_SDIST": str(sdist)}


@pytest.fixture
def fake_cmake(build_env: dict[str, str], tmp_path: Path) -> Path:
    """A CMake that compiles nothing and counts its runs; no framework is needed for it.

    Returns the file that gets one line a run. A build runs CMake twice.
    """
    runs = tmp_path / "cmake-runs"
    runs.touch()
    script = tmp_path / "cmake"
    script.write_text(f'#!/bin/sh\necho run >> "{runs}"\nsleep 0.5\n')
    script.chmod(0o755)
    without = {"HOROVOD_WITHOUT_PYTORCH": "1", "HOROVOD_WITHOUT_TENSORFLOW": "1"}
    build_env.update(without, HOROVOD_WITH_MXNET="1", HOROVOD_CMAKE=str(script))
    return runs


@pytest.fixture
def start_hook(build_env: dict[str, str]) -> StartHook:
    """Starts one PEP 517 hook in a process of its own, as pip does; it prints what it returns."""

    def start(hook: str, *args: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-B", "-c", _CALL, hook, *map(str, args)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, env=build_env, stdout=pipe, stderr=pipe, text=True, cwd=PROJECT
        )

    return start
