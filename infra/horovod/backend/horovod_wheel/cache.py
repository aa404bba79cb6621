"""The wheel cache: one folder a key, checked when read, written under a lock."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .errors import BuildError

_RECORD = "record.json"


class WheelCache:
    """`root/KEY/` holds a wheel and a record of its hash and of all that went into it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, key: str) -> Path | None:
        """The wheel under `key`, or None when there is none or its bytes have changed."""
        try:
            record = json.loads((self.root / key / _RECORD).read_text(encoding="utf-8"))
            wheel = self.root / key / record["wheel"]
            return wheel if sha256_of(wheel) == record["sha256"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Waits until no other process builds `key`. The kernel drops a dead holder's lock."""
        self._make(self.root)
        with (self.root / f"{key}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def workspace(self, key: str) -> Iterator[Path]:
        """A folder to build in, on the cache's file system. Call it under the lock."""
        for left_over in self.root.glob(f"partial-{key}-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"partial-{key}-", dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def store(self, key: str, wheel: Path, inputs: Mapping[str, object]) -> Path:
        """Moves `wheel` in, whole or not at all. Call it under the lock."""
        entry = Path(tempfile.mkdtemp(prefix=f"partial-{key}-", dir=self.root))
        record = {"wheel": wheel.name, "sha256": sha256_of(wheel), "inputs": inputs}
        shutil.copyfile(wheel, entry / wheel.name)
        (entry / _RECORD).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
        entry.chmod(0o755)
        shutil.rmtree(self.root / key, ignore_errors=True)
        os.replace(entry, self.root / key)
        return self.root / key / wheel.name

    def log(self, key: str) -> Path:
        """Where the compilers' output for `key` goes."""
        self._make(self.root / "logs")
        return self.root / "logs" / f"{key}.log"

    def sdists(self) -> Path:
        """Where downloaded source archives are kept."""
        self._make(self.root / "sdists")
        return self.root / "sdists"

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BuildError(
                f"the wheel cache {folder} cannot be written ({error.strerror}):"
                " set HVD_CACHE to a folder that can"
            ) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
