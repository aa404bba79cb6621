"""Fixtures for the Horovod wheel: its backend on the path, the real source, a cold cache."""

from __future__ import annotations

import os
import shutil
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


_FAKE_COMPILER = """#!/bin/sh
out=
for word; do
    case "$previous" in -o) out=$word ;; esac
    previous=$word
done
case "$*" in
    --version) echo "{version}" ;;
    *-shared*libhorovod.so*) echo link >> "{links}"; sleep 0.5; {empty} ;;
    *-shared*) {empty} ;;
    *) : > "$out" ;;
esac
"""


@pytest.fixture
def fake_compiler(build_env: dict[str, str], tmp_path: Path) -> Path:
    """A compiler that compiles nothing and links an empty library, in no time.

    Returns the file that gets one line for each core library that is linked.
    """
    if shutil.which("cc") is None:
        pytest.skip("no C compiler to make an empty library with")
    links = tmp_path / "links"
    links.touch()
    script = tmp_path / "c++"
    empty = 'cc -shared -nostdlib -x c /dev/null -o "$out"'
    script.write_text(_FAKE_COMPILER.format(version="fake 1.0", links=links, empty=empty))
    script.chmod(0o755)
    build_env["CXX"] = str(script)
    return links


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
