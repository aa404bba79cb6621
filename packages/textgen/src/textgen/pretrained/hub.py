"""Models on the Hugging Face hub: the current revision, the files that loading needs, downloading.

Files are safetensors, JSON and vocabulary text; no code is run. They are downloaded once for all
processes of a machine, one by one: `snapshot_download` would ask the hub for the list of files
again, and its errors do not name the file.
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
from hvdcore.runtime.signals import interrupt_at_once
from textgen.pretrained.hf_folder import INDEX, WEIGHTS, check_safetensors
from textgen.tokenizer.load import TOKENIZER
from textgen.tokenizer.vocabulary import VOCABULARIES

__all__ = [
    "HubModel",
    "fetch_model",
    "find_model",
]

_TEXT_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip

_BEAT_SECONDS = 1.0
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class HubModel:
    """The current revision of a model on the hub.

    Attributes:
        hub_id: `owner/name`, or `name`.
        revision: the commit.
        files: names of the files that loading needs.
    """

    hub_id: str
    revision: str
    files: tuple[str, ...]

    def record(self, cache: Path) -> Path:
        """The file that records that all its files are on this machine, complete."""
        return cache / "models" / self.hub_id.replace("/", "--") / f"{self.revision}.json"

    def folder(self) -> Path | None:
        """The folder in the hub's own cache, if all files are there. Does not ask the hub."""
        from huggingface_hub import try_to_load_from_cache

        found = [
            try_to_load_from_cache(self.hub_id, name, revision=self.revision) for name in self.files
        ]
        if not found or not all(isinstance(path, str) for path in found):
            return None
        return Path(str(found[0])).parent


def find_model(hub_id: str, cache: Path) -> HubModel:
    """Ask the hub which revision is current.

    Where the hub cannot be reached (a compute node, for example), the revision that was downloaded
    last is used.

    Raises:
        UserError: there is no such model, it has no safetensors, or the hub cannot be reached and
            there is no copy on this machine.
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
    except Exception as error:  # the hub and its HTTP client raise their own
        fetched = _fetched_before(hub_id, cache)
        if fetched is None:
            raise UserError(
                f"{hub_id}: no run or folder of that name, and the hub cannot be reached "
                f"({first_line(error)}); try again, or give a path"
            ) from error
        return fetched
    names = {sibling.rfilename for sibling in about.siblings or ()}
    check_safetensors(iter(names), f"{hub_id} on the hub")
    return HubModel(hub_id, str(about.sha), _needed(names))


def _needed(names: set[str]) -> tuple[str, ...]:
    """The files of a repository that loading reads."""
    shards = {
        name
        for name in names
        if name == INDEX or (name.startswith("model-") and name.endswith(".safetensors"))
    }
    weights = {WEIGHTS} if WEIGHTS in names else shards
    # Where there is no tokenizer.json, one is made from these.
    vocabularies = set() if TOKENIZER in names else names & set(VOCABULARIES)
    return tuple(sorted(weights | vocabularies | (names & set(_TEXT_FILES))))


def _fetched_before(hub_id: str, cache: Path) -> HubModel | None:
    """The revision that was downloaded last, if it is still there."""
    folder = HubModel(hub_id, "", ()).record(cache).parent
    with suppress(OSError):
        for path in sorted(folder.glob("*.json"), key=lambda p: p.stat().st_mtime, reverse=True):
            with suppress(OSError, ValueError, KeyError, TypeError):
                value = json.loads(path.read_text(encoding="utf-8"))
                model = HubModel(hub_id, str(value["revision"]), tuple(map(str, value["files"])))
                if model.folder() is not None:
                    return model
    return _in_hub_cache(hub_id)


def _in_hub_cache(hub_id: str) -> HubModel | None:
    """The model in the hub's cache, whatever program downloaded it."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(hub_id, local_files_only=True))
    except Exception:  # the client raises its own; then there is no copy
        return None
    names = {path.name for path in folder.iterdir()}
    check_safetensors(iter(names), str(folder))
    return HubModel(hub_id, folder.name, _needed(names))


def fetch_model(model: HubModel, cache: Path) -> Path:
    """The folder with the model's files, downloaded if need be.

    One process downloads, others of this machine wait for it. Every file is checked against the
    hash that the hub gives, and removed if it differs. An interrupted download continues in the
    next call.

    Raises:
        UserError: the hub fails or sends other content, or the disk is full.
    """
    if (found := _complete(model, cache)) is not None:
        return found
    with (
        writing(cache, "set TEXTGEN_CACHE and HF_HOME to other folders"),
        CacheLock(cache, f"model-{_key(model)}", lambda: beat("prepare")),
    ):
        if (found := _complete(model, cache)) is not None:  # another process downloaded it
            return found
        for name in model.files:
            _fetch_file(model, name)
        folder = model.folder()
        assert folder is not None
        record = model.record(cache)
        record.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(record, json.dumps(asdict(model)).encode())
    return folder


def _complete(model: HubModel, cache: Path) -> Path | None:
    return model.folder() if model.record(cache).is_file() else None


def _key(model: HubModel) -> str:
    return hashlib.sha256(f"{model.hub_id} {model.revision}".encode()).hexdigest()


def _fetch_file(model: HubModel, name: str) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    logging.set_verbosity_error()
    try:
        # In a thread, so that the heartbeat continues. The client has a timeout of its own.
        with interrupt_at_once(), ThreadPoolExecutor(1) as pool:
            fetching = pool.submit(hf_hub_download, model.hub_id, name, revision=model.revision)
            while not wait([fetching], _BEAT_SECONDS).done:
                beat("prepare")
            path = Path(fetching.result())
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise
        raise _no_file(model, name, first_line(error)) from error
    except Exception as error:  # the hub and its HTTP client raise their own
        raise _no_file(model, name, first_line(error)) from error
    _check_content(model, path)


def _no_file(model: HubModel, name: str, reason: str) -> UserError:
    return UserError(
        f"{model.hub_id}: the hub did not give {name} ({reason}); try again, or download it by "
        "other means and give its path"
    )


def _check_content(model: HubModel, path: Path) -> None:
    """Compare with the hash in the name that the hub's cache gives the file: SHA-256 of a large
    file, git's SHA-1 of a small one."""
    blob = path.resolve()
    expected = blob.name
    if blob.parent.name != "blobs" or len(expected) not in (40, 64):
        return  # a file system without links, or a mirror with other names
    size = blob.stat().st_size
    digest: Any = hashlib.sha256() if len(expected) == 64 else hashlib.sha1(b"blob %d\0" % size)
    with blob.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
            beat("prepare")
    if digest.hexdigest() != expected:
        path.unlink()
        blob.unlink()
        raise _no_file(model, path.name, "what came is not what the hub says it is; removed")
