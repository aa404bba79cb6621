"""Checks that a built wheel names nothing of the machine that built it, and runs on others."""

from __future__ import annotations

import re
import sys
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "horovod" / "backend"))

from horovod_wheel.elf import check_library
from horovod_wheel.errors import BuildError

MAX_BYTES = 2_000_000
MACHINES = {"x86_64": 62, "aarch64": 183}
_PLATFORM = re.compile(r"-manylinux_(\d+)_(\d+)_(\w+)\.whl$")


def read_requirements(wheel: Path) -> list[str]:
    """The Requires-Dist lines of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        parsed = Parser().parsestr(archive.read(name).decode())
    return [str(requirement) for requirement in parsed.get_all("Requires-Dist", [])]


def check_wheel(wheel: Path, root: Path) -> None:
    """Raises ValueError if `wheel` requires a path, names the checkout, is too large, or has a
    library that its tag promises too much of."""
    paths = [requirement for requirement in read_requirements(wheel) if "@" in requirement]
    if paths:
        raise ValueError(f"{wheel.name} still requires a path: {paths[0]}")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if ".dist-info/" in name and str(root).encode() in archive.read(name):
                raise ValueError(f"{wheel.name}: {name} names the checkout {root}")
    if wheel.stat().st_size > MAX_BYTES:
        raise ValueError(f"{wheel.name} has {wheel.stat().st_size} bytes: {MAX_BYTES} are enough")
    check_libraries(wheel)


def check_libraries(wheel: Path) -> None:
    """Raises ValueError unless every library of `wheel` runs wherever its tag says."""
    tag = _PLATFORM.search(wheel.name)
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as scratch:
        for name in [n for n in archive.namelist() if n.endswith(".so")]:
            if tag is None:
                raise ValueError(f"{wheel.name} has {name}, and its tag is no manylinux")
            try:
                library = check_library(
                    Path(archive.extract(name, scratch)), (int(tag[1]), int(tag[2]))
                )
            except BuildError as error:
                raise ValueError(f"{wheel.name}: {error}") from error
            if library.machine != MACHINES[tag[3]]:
                raise ValueError(f"{wheel.name}: {name} is for another processor")
