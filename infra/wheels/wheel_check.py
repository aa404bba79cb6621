"""Checks that a built wheel names nothing of the machine that built it."""

from __future__ import annotations

import zipfile
from email.parser import Parser
from pathlib import Path


def read_requirements(wheel: Path) -> list[str]:
    """The Requires-Dist lines of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        parsed = Parser().parsestr(archive.read(name).decode())
    return [str(requirement) for requirement in parsed.get_all("Requires-Dist", [])]


def check_wheel(wheel: Path, root: Path) -> None:
    """Raises ValueError if `wheel` requires a path or its metadata contains the checkout's."""
    paths = [requirement for requirement in read_requirements(wheel) if "@" in requirement]
    if paths:
        raise ValueError(f"{wheel.name} still requires a path: {paths[0]}")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if ".dist-info/" in name and str(root).encode() in archive.read(name):
                raise ValueError(f"{wheel.name}: {name} names the checkout {root}")
