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
_NATIVE = ("backend/horovod_wheel", "patches", "core", *(extra.folder for extra in EXTRAS))
_LEFT_OUT = ("__pycache__", ".pyc", ".orig")


def library_inputs(settings: Settings, compiler: Compiler) -> dict[str, object]:
    """Every input of the compiled libraries as JSON-ready values, for the key and the record."""
    return {
        "sdist": release.SDIST_SHA256,
        "files": digest_files(PROJECT, native_files(PROJECT)),
        "platform": compiler.platform_tag,
        "compiler": compiler.version,
        "target": compiler.zig_target,
        "variables": dict(settings.variables),
    }


def build_inputs(settings: Settings, compiler: Compiler) -> dict[str, object]:
    """Every input of the wheel: the libraries' and our Python files."""
    return {
        **library_inputs(settings, compiler),
        "files": digest_files(PROJECT, project_files(PROJECT)),
        "version": settings.version,
        "compiled": settings.compiled,
    }


def cache_key(inputs: Mapping[str, object]) -> str:
    """The name of the cache entry for `inputs`: 32 hexadecimal digits."""
    text = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def native_files(project: Path) -> list[Path]:
    """What decides what the compiled libraries are; the Python files in the wheel do not."""
    return _files(project, _NATIVE)


def project_files(project: Path) -> list[Path]:
    """Everything of this project that goes into the wheel or decides what does."""
    return _files(project, (*_NATIVE, "python"))


def digest_files(project: Path, files: list[Path]) -> dict[str, str]:
    """Path in the project to SHA-256, of some of its files."""
    return {
        path.relative_to(project).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _files(project: Path, folders: tuple[str, ...]) -> list[Path]:
    found = [path for folder in folders for path in (project / folder).rglob("*")]
    return sorted(
        path
        for path in found
        if path.is_file() and not any(part.endswith(_LEFT_OUT) for part in path.parts)
    )
