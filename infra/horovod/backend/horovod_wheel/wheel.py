"""Writes the wheel: upstream's Python files, the compiled libraries, metadata of our own."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from . import release
from .requirements import runtime_requirements
from .settings import Settings

# Fixed, so that equal inputs give equal bytes; a zip knows no time before 1980.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def dist_info_name(settings: Settings) -> str:
    """The name of the metadata folder inside the wheel."""
    return f"{release.NAME}-{settings.version}.dist-info"


def dist_info(settings: Settings, platform_tag: str) -> dict[str, str]:
    """File name to text, of everything in the metadata folder but RECORD and the licence."""
    return {
        "METADATA": _metadata(settings),
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: horovod_wheel\nRoot-Is-Purelib: false\n"
        f"Tag: py3-none-{platform_tag}\n",
        "entry_points.txt": "[console_scripts]\n"
        "horovodrun = horovod.runner.launch:run_commandline\n",
        "top_level.txt": f"{release.NAME}\n",
    }


def write_wheel(
    settings: Settings,
    platform_tag: str,
    project: Path,
    tree: Path,
    libraries: Path | None,
    folder: Path,
) -> Path:
    """Packs upstream's edited `tree`, our `project`'s Python files over it, and the `libraries`.

    Returns the wheel's path.
    """
    info = dist_info_name(settings)
    contents = python_files(tree, project)
    contents["horovod/lib/horovod_c.h"] = (project / "core/horovod_c.h").read_bytes()
    if libraries is not None:
        contents.update(_native_files(libraries))
    contents[f"{info}/licenses/LICENSE"] = (tree / "LICENSE").read_bytes()
    for name, text in dist_info(settings, platform_tag).items():
        contents[f"{info}/{name}"] = text.encode()
    contents[f"{info}/RECORD"] = _record(contents, f"{info}/RECORD")
    wheel = folder / f"{release.NAME}-{settings.version}-py3-none-{platform_tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name, _TIMESTAMP)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return wheel


def _metadata(settings: Settings) -> str:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {release.NAME}",
        f"Version: {settings.version}",
        f"Summary: Horovod {release.UPSTREAM_VERSION} for every PyTorch, TensorFlow and JAX",
        "Author: The Horovod Authors",
        "License-Expression: Apache-2.0",
        "License-File: LICENSE",
        f"Requires-Python: {release.PYTHON_RANGE}",
    ]
    return "\n".join([*lines, *(f"Requires-Dist: {r}" for r in runtime_requirements()), ""])


def python_files(tree: Path, project: Path) -> dict[str, bytes]:
    """Name in the wheel to contents: upstream's packages, with those in `python/` over them.

    A file there replaces upstream's of the same name; an empty file named `NAME.removed` leaves
    upstream's NAME out.
    """
    contents = dict(_packages(tree))
    overlay = project / "python"
    for path in sorted(overlay.rglob("*")):
        name = path.relative_to(overlay).as_posix()
        if name.endswith(".removed"):
            contents.pop(name.removesuffix(".removed"), None)
        elif path.is_file() and "__pycache__" not in path.parts:
            contents[name] = path.read_bytes()
    return dict(sorted(contents.items()))


def _packages(tree: Path) -> Iterator[tuple[str, bytes]]:
    """The packages below horovod/, as setuptools' find_packages sees them."""
    for path in sorted((tree / release.NAME).rglob("*.py")):
        relative = path.relative_to(tree)
        if all((tree / parent / "__init__.py").is_file() for parent in relative.parents[:-1]):
            yield relative.as_posix(), path.read_bytes()


def _native_files(libraries: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(libraries.rglob("*")):
        if path.suffix == ".so":
            yield path.relative_to(libraries).as_posix(), path.read_bytes()


def _record(contents: dict[str, bytes], own_name: str) -> bytes:
    rows = []
    for name, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    return "".join([*rows, f"{own_name},,\n"]).encode()
