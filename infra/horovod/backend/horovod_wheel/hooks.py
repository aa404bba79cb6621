"""The PEP 517 hooks that pip calls. A user's error is one line on stderr, without a traceback."""

from __future__ import annotations

import functools
import io
import os
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from . import build, release
from .errors import BuildError
from .key import PROJECT, project_files
from .settings import read_settings
from .wheel import dist_info, dist_info_name

_Hook = TypeVar("_Hook", bound=Callable[..., Any])


def _one_line(hook: _Hook) -> _Hook:
    @functools.wraps(hook)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return hook(*args, **kwargs)
        except (BuildError, OSError) as error:  # a full disk is an OSError
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            raise SystemExit(1) from None

    return wrapper  # type: ignore[return-value]


@_one_line
def get_requires_for_build_wheel(config_settings: Mapping[str, Any] | None = None) -> list[str]:
    """pip to fetch the source, ziglang without a compiler; nothing when the cache has the wheel."""
    return build.missing_requirements(build.plan())


@_one_line
def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: Mapping[str, Any] | None = None
) -> str:
    """Writes the wheel's metadata, which needs no compiling."""
    job = build.plan()
    folder = Path(metadata_directory, dist_info_name(job.settings))
    folder.mkdir(parents=True)
    for name, text in dist_info(job.settings, job.compiler.platform_tag).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder.name


@_one_line
def build_wheel(
    wheel_directory: str,
    config_settings: Mapping[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Takes the wheel from the cache, or builds it (minutes) and keeps it there."""
    return build.deliver(build.plan(), Path(wheel_directory)).name


def get_requires_for_build_sdist(config_settings: Mapping[str, Any] | None = None) -> list[str]:
    """Nothing: the source archive is this project's few files."""
    return []


@_one_line
def build_sdist(sdist_directory: str, config_settings: Mapping[str, Any] | None = None) -> str:
    """Packs this project, which builds the wheel anywhere; Horovod's source stays outside."""
    version = read_settings(os.environ).version
    top = f"{release.NAME}-{version}"
    files = [PROJECT / "pyproject.toml", PROJECT / "README.md", *project_files(PROJECT)]
    info = f"Metadata-Version: 2.4\nName: {release.NAME}\nVersion: {version}\n".encode()
    with tarfile.open(Path(sdist_directory, f"{top}.tar.gz"), "w:gz") as tar:
        for path in files:
            tar.add(path, f"{top}/{path.relative_to(PROJECT).as_posix()}")
        entry = tarfile.TarInfo(f"{top}/PKG-INFO")
        entry.size = len(info)
        tar.addfile(entry, io.BytesIO(info))
    return f"{top}.tar.gz"
