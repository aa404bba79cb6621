"""Volumes of a ConfigMap or Secret for tests, laid out and changed as the kubelet does it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

__all__ = ["write_volume"]


def write_volume(folder: Path, files: Mapping[str, str], mode: int, group: int) -> None:
    """Write all files of a volume, or change them all at once.

    Each version is a folder of its own behind the link `..data`; every file is a link through it.
    The folder is writable for all, and the files belong to root and the pod's `group`.
    """
    folder.mkdir(exist_ok=True)
    os.chmod(folder, 0o1777)
    old = folder / os.readlink(folder / "..data") if (folder / "..data").is_symlink() else None
    number = int(old.name.removeprefix("..version-")) + 1 if old else 1
    new = folder / f"..version-{number}"
    new.mkdir(mode=0o755)
    for name, text in files.items():
        (new / name).write_text(text, encoding="utf-8")
        os.chown(new / name, 0, group)
        os.chmod(new / name, mode)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data_tmp").symlink_to(new.name)
    (folder / "..data_tmp").rename(folder / "..data")
    if old is not None:
        shutil.rmtree(old)
