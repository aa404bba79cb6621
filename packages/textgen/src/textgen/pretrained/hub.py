"""Owns models on the Hugging Face hub: which revision is current, and which files loading needs.

These are safetensors, JSON and vocabulary text alone; nothing of them is run.

Owns fetching a model's files from the hub, once for all processes of a machine, and whole.
"""

from __future__ import annotations

import errno
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.files.atomic import write_bytes_atomically, writing
from hvdcore.files.cache import CacheLock
from hvdcore.files.hub import first_line
from hvdcore.runtime.heartbeat import beat
from textgen.pretrained.hf_folder import INDEX, WEIGHTS, check_files

__all__ = [
    "HubModel",
    "fetch_model",
    "find_model",
]

_TEXT_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
)  # fmt: skip


@dataclass(frozen=True)
class HubModel:
    """A model as it is on the hub now.

    Attributes:
        hub_id: `owner/name`, or `name`.
        revision: the commit.
        files: names of the files that loading needs.
    """

    hub_id: str
    revision: str
    files: tuple[str, ...]

    def record(self, cache: Path) -> Path:
        """Where it is noted that all its files are on this machine, whole."""
        return cache / "models" / self.hub_id.replace("/", "--") / f"{self.revision}.json"

    def folder(self) -> Path | None:
        """The folder in the hub's own cache, if the files are all there. Asks no hub."""
        from huggingface_hub import try_to_load_from_cache

        found = [
            try_to_load_from_cache(self.hub_id, name, revision=self.revision) for name in self.files
        ]
        if not found or not all(isinstance(path, str) for path in found):
            return None
        return Path(str(found[0])).parent


def find_model(hub_id: str, cache: Path) -> HubModel:
    """Ask the hub which revision is current.

    Where the hub cannot be reached (a compute node, say), the one that was fetched last is taken.

    Raises:
        UserError: there is no such model, it has no safetensors, or the hub cannot be reached and
            no copy is on this machine.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
    )

    try:
        about = HfApi().model_info(hub_id, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except GatedRepoError as error:
        raise UserError(
            f"{hub_id}: the hub asks for a login ({first_line(error)}); run hf auth login, "
            "or give a path"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(
            f"{hub_id}: no run or folder of that name, and no public model on the hub; "
            "give a run, a folder with a model, or a hub id"
        ) from error
    except Exception as error:  # every layer of the client has its own
        fetched = _fetched_before(hub_id, cache)
        if fetched is None:
            raise UserError(
                f"{hub_id}: no run or folder of that name, and the hub cannot be reached "
                f"({first_line(error)}); try again, or give a path"
            ) from error
        return fetched
    names = {sibling.rfilename for sibling in about.siblings or ()}
    check_files(iter(names), f"{hub_id} on the hub")
    return HubModel(hub_id, str(about.sha), _needed(names))


def _needed(names: set[str]) -> tuple[str, ...]:
    """The files that loading reads, of all that a repository holds."""
    shards = {
        name
        for name in names
        if name == INDEX or (name.startswith("model-") and name.endswith(".safetensors"))
    }
    weights = {WEIGHTS} if WEIGHTS in names else shards
    return tuple(sorted(weights | (names & set(_TEXT_FILES))))


def _fetched_before(hub_id: str, cache: Path) -> HubModel | None:
    """The model of that name that was fetched last, if it is still there."""
    folder = HubModel(hub_id, "", ()).record(cache).parent
    with suppress(OSError):
        for path in sorted(folder.glob("*.json"), key=lambda p: p.stat().st_mtime, reverse=True):
            with suppress(OSError, ValueError, KeyError, TypeError):
                value = json.loads(path.read_text(encoding="utf-8"))
                model = HubModel(hub_id, str(value["revision"]), tuple(map(str, value["files"])))
                if model.folder() is not None:
                    return model
    return _fetched_by_others(hub_id)


def _fetched_by_others(hub_id: str) -> HubModel | None:
    """The model of that name in the hub's cache, by whatever program it came there."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(hub_id, local_files_only=True))
    except Exception:  # every layer of the client has its own
        return None
    names = {path.name for path in folder.iterdir()}
    check_files(iter(names), str(folder))
    return HubModel(hub_id, folder.name, _needed(names))


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
