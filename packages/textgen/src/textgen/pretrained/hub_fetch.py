"""Owns fetching a model's files from the hub, once for all processes of a machine, and whole."""

from __future__ import annotations

import errno
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.files.atomic import write_bytes_atomically, writing
from hvdcore.files.cache import CacheLock
from hvdcore.files.hub import first_line
from hvdcore.runtime.heartbeat import beat
from textgen.pretrained.hub import HubModel

__all__ = ["fetch_model"]

_BEAT_SECONDS = 1.0
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def fetch_model(model: HubModel, cache: Path) -> Path:
    """The folder with the model's files, fetched where they are not there yet.

    One process fetches, others of this machine wait for it. Every file is checked against the
    hash that the hub gives it, and removed if it differs. A download that was cut off goes on
    where it stopped, in the next call.

    Raises:
        UserError: the hub fails, sends something else, or the disk is full.
    """
    if (found := _whole(model, cache)) is not None:
        return found
    with (
        writing(cache, "point TEXTGEN_CACHE and HF_HOME to another place"),
        CacheLock(cache, f"model-{_key(model)}", lambda: beat("prepare")),
    ):
        if (found := _whole(model, cache)) is not None:  # another process was at it
            return found
        for name in model.files:
            _fetch_file(model, name)
        folder = model.folder()
        assert folder is not None
        record = model.record(cache)
        record.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(record, json.dumps(asdict(model)).encode())
    return folder


def _whole(model: HubModel, cache: Path) -> Path | None:
    return model.folder() if model.record(cache).is_file() else None


def _key(model: HubModel) -> str:
    return hashlib.sha256(f"{model.hub_id} {model.revision}".encode()).hexdigest()


def _fetch_file(model: HubModel, name: str) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    logging.set_verbosity_error()
    try:
        # In a thread: a watchdog must hear from us meanwhile. The client ends one that is stuck.
        with ThreadPoolExecutor(1) as pool:
            fetching = pool.submit(hf_hub_download, model.hub_id, name, revision=model.revision)
            while not wait([fetching], _BEAT_SECONDS).done:
                beat("prepare")
            path = Path(fetching.result())
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise
        raise _no_file(model, name, first_line(error)) from error
    except Exception as error:  # every layer of the client has its own
        raise _no_file(model, name, first_line(error)) from error
    _check_content(model, path)


def _no_file(model: HubModel, name: str, reason: str) -> UserError:
    return UserError(
        f"{model.hub_id}: the hub did not give {name} ({reason}); try again, or fetch it by "
        "other means and give its path"
    )


def _check_content(model: HubModel, path: Path) -> None:
    """Compare with the hash that the hub's cache names the file by: SHA-256 of a large file, git's
    SHA-1 of a small one."""
    blob = path.resolve()
    told = blob.name
    if blob.parent.name != "blobs" or len(told) not in (40, 64):
        return  # a file system without links, or a mirror that names files otherwise
    size = blob.stat().st_size
    digest: Any = hashlib.sha256() if len(told) == 64 else hashlib.sha1(b"blob %d\0" % size)
    with blob.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
            beat("prepare")
    if digest.hexdigest() != told:
        path.unlink()
        blob.unlink()
        raise _no_file(model, path.name, "what came is not what the hub says it is; removed")
