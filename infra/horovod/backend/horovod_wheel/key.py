"""The cache key: everything that went into a wheel, and the digest of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from . import release
from .settings import SYSTEM_MPI, Settings
from .toolchain import Toolchain

BACKEND = Path(__file__).resolve().parent
PATCHES = BACKEND.parents[1] / "patches"


def build_inputs(settings: Settings, toolchain: Toolchain) -> dict[str, object]:
    """Every input of the build as JSON-ready values, for the key and for the cache's record."""
    return {
        "sdist": release.SDIST_SHA256,
        "edits": digest_files(PATCHES, "*.patch"),
        "backend": digest_files(BACKEND, "*.py"),
        "version": settings.version,
        "frameworks": settings.frameworks,
        "openmpi": _system_mpi() if settings.openmpi == SYSTEM_MPI else settings.openmpi,
        "gloo": settings.gloo,
        "mxnet": settings.mxnet,
        "variables": dict(settings.variables),
        "toolchain": asdict(toolchain),
    }


def cache_key(inputs: Mapping[str, object]) -> str:
    """The name of the cache entry for `inputs`: 32 hexadecimal digits."""
    text = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def digest_files(folder: Path, pattern: str) -> dict[str, str]:
    """File name to SHA-256, of the files in `folder` that match `pattern`."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob(pattern))
    }


def _system_mpi() -> str:
    command = shutil.which("mpirun")
    if command is None:
        return "system: none"
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    return f"system: {done.stdout.splitlines()[:1]}"
