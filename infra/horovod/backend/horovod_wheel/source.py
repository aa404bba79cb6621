"""Fetches Horovod's published source through pip, checks its hash, unpacks it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

from . import release
from .cache import WheelCache, sha256_of
from .errors import BuildError
from .settings import Settings

_ELSEWHERE = f"or set HVD_HOROVOD_SDIST to a copy of {release.SDIST_NAME}"


def at_hand(settings: Settings) -> Path | None:
    """The source archive if it need not be downloaded; `BuildError` if the user's is wrong."""
    if settings.sdist is not None:
        if not settings.sdist.is_file():
            raise BuildError(f"HVD_HOROVOD_SDIST={settings.sdist}: no such file")
        return verified(settings.sdist)
    kept = WheelCache(settings.cache).root / "sdists" / release.SDIST_NAME
    return kept if kept.is_file() and sha256_of(kept) == release.SDIST_SHA256 else None


def fetch(settings: Settings, workspace: Path) -> Path:
    """The verified source archive, from the user, the cache or the package index."""
    found = at_hand(settings)
    if found is not None:
        return found
    archive = verified(_download(workspace))
    kept = WheelCache(settings.cache).sdists() / release.SDIST_NAME
    os.replace(archive, kept)
    return kept


def verified(archive: Path) -> Path:
    """`archive`, if it is the pinned release byte for byte."""
    found = sha256_of(archive)
    if found != release.SDIST_SHA256:
        raise BuildError(
            f"{archive} has the wrong hash: sha256 {found}, expected {release.SDIST_SHA256}"
        )
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks a verified archive into `folder` and returns the source's top folder."""
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(folder)
    return folder / release.SDIST_NAME.removesuffix(".tar.gz")


def _download(folder: Path) -> Path:
    # With the hash in a requirements file pip checks it before it runs the source's setup.py.
    pinned = folder / "source.txt"
    pinned.write_text(
        f"{release.NAME}=={release.UPSTREAM_VERSION} --hash=sha256:{release.SDIST_SHA256}\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--no-binary", release.NAME]
    command += ["--dest", str(folder), "--requirement", str(pinned)]
    done = subprocess.run(
        command, env=_outside_of_a_build(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BuildError(
            f"{release.SDIST_NAME} could not be downloaded by pip ({_reason(done.stderr)}):"
            f" check the network and pip's index settings, {_ELSEWHERE}"
        )
    return folder / release.SDIST_NAME


def _outside_of_a_build() -> dict[str, str]:
    """The environment without what pip tells this build hook about itself.

    A pip that is started by the hook would look for setuptools in our backend's folder.
    """
    return {k: v for k, v in os.environ.items() if not k.startswith("_PYPROJECT_HOOKS_")}


def _reason(stderr: str) -> str:
    """Why pip failed: its last line marked ERROR, else the first of a framed message."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    framed = [line.removeprefix("\u00d7 ") for line in lines if line.startswith("\u00d7 ")]
    return (errors[-1:] or framed[:1] or lines[-1:] or ["no reason given"])[0].rstrip(".")
