"""The cache key: everything that went into a wheel, and the digest of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from . import release
from .extras import EXTRAS
from .settings import Settings
from .toolchain import Compiler

BACKEND = Path(__file__).resolve().parent
PROJECT = BACKEND.parents[1]
PATCHES = PROJECT / "patches"
SOURCE_FOLDERS = ("backend/horovod_wheel", "patches", "core", "python")
_LEFT_OUT = ("__pycache__", ".pyc", ".orig")


def build_inputs(settings: Settings, compiler: Compiler) -> dict[str, object]:
    """Every input of the build as JSON-ready values, for the key and for the cache's record."""
    return {
        "sdist": release.SDIST_SHA256,
        "files": digest_files(PROJECT),
        "version": settings.version,
        "compiled": settings.compiled,
        "platform": compiler.platform_tag,
        "compiler": compiler.version,
        "target": compiler.zig_target,
        "variables": dict(settings.variables),
    }


def cache_key(inputs: Mapping[str, object]) -> str:
    """The name of the cache entry for `inputs`: 32 hexadecimal digits."""
    text = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def project_files(project: Path) -> list[Path]:
    """Everything of this project that goes into the wheel or decides what does."""
    folders = [*SOURCE_FOLDERS, *(extra.folder for extra in EXTRAS)]
    found = [path for folder in folders for path in (project / folder).rglob("*")]
    return sorted(
        path
        for path in found
        if path.is_file() and not any(part.endswith(_LEFT_OUT) for part in path.parts)
    )


def digest_files(project: Path) -> dict[str, str]:
    """Path in the project to SHA-256, of all its source files."""
    return {
        path.relative_to(project).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in project_files(project)
    }
