"""A copy of a run's checkpoints on object storage, or anywhere else that fsspec can write.

Below the URL are `checkpoints/<name>/` and the run's metrics.jsonl. A checkpoint's manifest.json is
written last and deleted first, so that a copy without it does not count. What is fetched is
verified against it like any checkpoint. Rank 0 only.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hvdcore.errors import Problems, UserError
from hvdcore.files.atomic import fsync_path, writing
from hvdcore.run.checkpoint.resume import require_same_run
from hvdcore.run.checkpoint.store import (
    MANIFEST,
    broken_reason,
    is_checkpoint_name,
    latest_valid,
    newest_first,
    order_of,
)
from hvdcore.runtime.heartbeat import beat
from hvdcore.tracking.logs import get_logger

__all__ = ["Mirror", "check_mirror"]

_logger = get_logger(__name__)
_METRICS = "metrics.jsonl"
_PROBE = ".write-test"
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "r2"}
"""File systems of fsspec without folders of their own; making one may make a bucket."""


def _no_progress() -> None:
    pass


class Mirror:
    """The copies of one run's checkpoints below a URL.

    Args:
        url: of any file system of fsspec: `s3://bucket/run`, `gs://...`, `file:///...`.

    Raises:
        UserError: fsspec, or its package for this kind of URL, is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._fs, root = _file_system(url)
        self._root = root.rstrip("/")

    def copy(self, checkpoint: Path, progress: Callable[[], None] = _no_progress) -> None:
        """Copy a whole checkpoint, and those beside it of which there is no copy, then delete the
        copies of those that are not there any more.

        Args:
            checkpoint: in the run's `checkpoints/`.
            progress: called again and again while bytes are sent.

        Raises:
            UserError: it could not be copied; earlier copies stay whole.
        """
        with self._reported(f"step {order_of(checkpoint.name)[0]} could not be copied"):
            metrics = checkpoint.parents[1] / _METRICS
            if metrics.is_file():
                self._make_folder_of(_METRICS)
                # At once, for the run goes on and appends lines; half a line is passed over.
                self._fs.pipe_file(self._path(_METRICS), metrics.read_bytes())
            here = newest_first(checkpoint.parent)
            there = self._names()
            for path in here:  # others too, if a copy of them failed
                if path == checkpoint or path.name not in there or not self._is_sealed(path.name):
                    self._copy_files(path, progress)
            for name in set(there) - {path.name for path in here}:
                self._delete(name)

    def discard_after(self, step: int) -> None:
        """Delete the copies of later steps, when a run goes back to an earlier one.

        Raises:
            UserError: they could not be deleted.
        """
        with self._reported("old copies could not be deleted"):
            for name in self._names():
                if order_of(name)[0] > step:
                    self._delete(name)

    def fetch(self, checkpoints: Path, fingerprint: Mapping[str, Any]) -> None:
        """Fetch the newest whole checkpoint, and the best, if it is newer than those on the disk.

        Args:
            checkpoints: the run's folder for them; made when missing.
            fingerprint: what a checkpoint's meta.json must hold for the run to resume from it.

        Raises:
            UserError: the storage cannot be read, or it holds another run's checkpoints.
        """
        here = latest_valid(checkpoints)
        with self._reported("cannot be read"):
            metas = self._metas()
            if not metas or (here is not None and here.step >= order_of(next(iter(metas)))[0]):
                return
        require_same_run(fingerprint, next(iter(metas.values())))
        with self._reported("could not be fetched"), writing(checkpoints):
            newest = next((name for name in metas if self._fetch(name, checkpoints)), None)
            best = next((name for name, meta in metas.items() if meta.get("is_best")), None)
            if newest is not None and best is not None and order_of(best) < order_of(newest):
                self._fetch(best, checkpoints)
            self._fetch_metrics(checkpoints.parent / _METRICS)

    def is_empty(self) -> bool:
        """Whether there is no whole checkpoint.

        Raises:
            UserError: the storage cannot be read.
        """
        with self._reported("cannot be read"):
            return not self._metas()

    def check_writable(self) -> None:
        """Write a small object and delete it.

        Raises:
            UserError: the storage cannot be written, and why.
        """
        with self._reported("cannot be written"):
            self._make_folder_of(_PROBE)
            self._fs.pipe_file(self._path(_PROBE), b"")
            self._fs.rm_file(self._path(_PROBE))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # each storage has errors of its own
            reason = " ".join((str(error) or type(error).__name__).split())
            reason = _without_credentials(reason)[:300].rstrip(".")
            raise UserError(
                f"mirror: {self.url}: {what} ({reason}); check the URL, the credentials in the "
                "environment and the network"
            ) from None

    def _names(self) -> list[str]:
        """Of copies, whole or not, newest first."""
        self._fs.invalidate_cache()
        try:
            paths = self._fs.ls(self._path("checkpoints"), detail=False)
        except FileNotFoundError:
            return []
        names = [path.rstrip("/").rpartition("/")[2] for path in paths]
        return sorted(filter(is_checkpoint_name, names), key=order_of, reverse=True)

    def _is_sealed(self, name: str) -> bool:
        return bool(self._fs.exists(self._path(f"checkpoints/{name}/{MANIFEST}")))

    def _metas(self) -> dict[str, dict[str, Any]]:
        """meta.json of each copy that has a manifest, newest first."""
        metas = {}
        for name in self._names():
            with suppress(FileNotFoundError, ValueError):
                json.loads(self._fs.cat_file(self._path(f"checkpoints/{name}/{MANIFEST}")))
                metas[name] = json.loads(
                    self._fs.cat_file(self._path(f"checkpoints/{name}/meta.json"))
                )
        return metas

    def _copy_files(self, checkpoint: Path, progress: Callable[[], None]) -> None:
        target = f"checkpoints/{checkpoint.name}"
        if checkpoint.name in self._names():
            self._delete(checkpoint.name)  # of a run that was killed, or went back
        files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
        for path in sorted(files, key=lambda path: path.name == MANIFEST):
            self._put(path, f"{target}/{path.relative_to(checkpoint).as_posix()}", progress)

    def _put(self, path: Path, name: str, progress: Callable[[], None]) -> None:
        self._make_folder_of(name)
        self._fs.put_file(str(path), self._path(name), callback=_callback(progress))
        progress()

    def _make_folder_of(self, name: str) -> None:
        kinds = self._fs.protocol
        kinds = {kinds} if isinstance(kinds, str) else set(kinds)
        if not kinds & _OBJECT_STORES:
            self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)

    def _delete(self, name: str) -> None:
        folder = self._path(f"checkpoints/{name}")
        with suppress(FileNotFoundError):
            self._fs.rm_file(f"{folder}/{MANIFEST}")  # from here on it does not count
        with suppress(FileNotFoundError):
            self._fs.rm(folder, recursive=True)

    def _fetch(self, name: str, checkpoints: Path) -> bool:
        """Fetch one checkpoint unless it is there; return whether it is whole."""
        if (checkpoints / name).exists() and broken_reason(checkpoints / name) is None:
            return True
        # A name that the next start deletes, should this one be killed.
        made = checkpoints / f".writing-{name}"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        source = self._path(f"checkpoints/{name}")
        for path in self._fs.find(source):
            file = made / path.removeprefix(source).lstrip("/")
            if not file.resolve().is_relative_to(made.resolve()):
                raise ValueError(f"{path} leads out of its folder")
            file.parent.mkdir(parents=True, exist_ok=True)
            self._fs.get_file(path, str(file), callback=_callback(lambda: beat("checkpoint")))
            fsync_path(file)
        if reason := broken_reason(made):
            _logger.warning("skipping %s/checkpoints/%s: %s", self.url, name, reason)
            shutil.rmtree(made)
            return False
        shutil.rmtree(checkpoints / name, ignore_errors=True)
        made.rename(checkpoints / name)
        fsync_path(checkpoints)
        _logger.info("mirror: fetched %s from %s", name, self.url)
        return True

    def _fetch_metrics(self, path: Path) -> None:
        if not path.exists():
            with suppress(FileNotFoundError):
                self._fs.get_file(self._path(_METRICS), str(path))


def check_mirror(url: str | None, *, resuming: bool, problems: Problems) -> None:
    """Check before hours of work that the mirror can be written and is this run's. Rank 0 only.

    Args:
        resuming: whether the run may resume from what is there.
        problems: takes in what is wrong.
    """
    if url is None:
        return
    with problems.catching():
        mirror = Mirror(url)
        mirror.check_writable()
        if not resuming and not mirror.is_empty():
            problems.add(
                "mirror", f"{url} holds checkpoints of a run; give another --mirror, or --resume"
                " auto to resume from there",
            )  # fmt: skip


def _file_system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UserError(
            "mirror: it needs the package fsspec; pip install 'hvdcore[mirror]'"
        ) from None
    try:
        found: tuple[Any, str] = url_to_fs(url, use_listings_cache=False)
        return found
    except ImportError as error:
        raise UserError(f"mirror: {url}: {error}; pip install what it names") from None
    except ValueError as error:
        raise UserError(f"mirror: {url}: {error}; give a URL such as s3://bucket/run") from None


def _callback(progress: Callable[[], None]) -> Any:
    """One of fsspec's callbacks."""
    from fsspec.callbacks import Callback

    class Progress(Callback):  # type: ignore[misc]
        def call(self, *args: Any, **kwargs: Any) -> None:
            progress()

    return Progress()


_CREDENTIALS = ("KEY", "SECRET", "TOKEN", "PASSWORD", "CREDENTIAL")


def _without_credentials(text: str) -> str:
    """The text without the values of environment variables that may be credentials."""
    for name, value in os.environ.items():
        if len(value) >= 4 and any(word in name.upper() for word in _CREDENTIALS):
            text = text.replace(value, "***")
    return text
