"""Builds the image for tests, from the Dockerfile as it stands, by buildah, as root.

The base image, which comes from a registry elsewhere, is made here from Debian's own packages.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from containers import Image

__all__ = ["Builder", "missing_for_images"]

ROOT = Path(__file__).resolve().parents[3]
DEBIAN, BASE, PYTHON = "bookworm", "debian:bookworm-slim", (3, 11)


def missing_for_images() -> str:
    """Why no image can be built here, '' when one can."""
    missing = [name for name in ("buildah", "mmdebstrap") if shutil.which(name) is None]
    if missing:
        return f"an image of a test needs {' and '.join(missing)}"
    if sys.version_info[:2] != PYTHON:
        return f"wheels made by this Python do not fit that of {BASE}"
    return ""


def _run(*command: str | Path) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{words}: {done.stdout[-4000:]}"
    return done.stdout


class Builder:
    """Images in `folder`, which nothing else sees; `target` is the Dockerfile's stage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        store = ("--root", str(folder / "store"), "--runroot", str(folder / "run"))
        self._buildah: Sequence[str] = ("buildah", *store, "--storage-driver", "overlay")

    def make_wheels(self, package: str) -> None:
        """Fill wheels/ as the README says."""
        wheels = self.folder / "context" / "wheels"
        _run(sys.executable, ROOT / "infra" / "wheels" / "build.py", "--out", wheels)
        requirements = wheels / f"{package}.txt"
        pip = (sys.executable, "-m", "pip", "wheel", "--quiet")
        _run(*pip, "--wheel-dir", wheels, "--requirement", requirements)

    def make_base(self) -> None:
        """Debian's essential packages and apt, as in the image of that name."""
        archive = self.folder / "base.tar"
        _run("mmdebstrap", "--quiet", "--variant=minbase", DEBIAN, archive)
        container = _run(*self._buildah, "from", "scratch").strip()
        _run(*self._buildah, "add", container, archive, "/")
        _run(*self._buildah, "commit", "--quiet", "--rm", container, f"docker.io/library/{BASE}")

    def build(self, target: str) -> str:
        """Every step of the Dockerfile up to `target`; what they said."""
        context = self.folder / "context"
        shutil.copytree(ROOT / "infra" / "docker", context / "infra" / "docker")
        file = context / "infra" / "docker" / "Dockerfile"
        options = ("--isolation", "chroot", "--format", "docker", "--target", target)
        return _run(*self._buildah, "bud", *options, "-t", target, "-f", file, context)

    def open(self, target: str) -> Image:
        """The image, to make containers of."""
        container = _run(*self._buildah, "from", f"localhost/{target}").strip()
        root = Path(_run(*self._buildah, "mount", container).strip())
        settings: dict[str, Any] = json.loads(_run(*self._buildah, "inspect", container))
        config = settings["Docker"]["config"]
        env = dict(variable.split("=", 1) for variable in config["Env"])
        return Image(root, env, config["Entrypoint"])

    def close(self) -> None:
        """Unmount and remove everything."""
        _run(*self._buildah, "rm", "--all")
        _run(*self._buildah, "rmi", "--all", "--force")
