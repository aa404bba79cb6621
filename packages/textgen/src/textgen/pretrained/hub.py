"""Owns models on the Hugging Face hub: which revision is current, and which files loading needs.

These are safetensors, JSON and vocabulary text alone; nothing of them is run.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hvdcore.errors import UserError
from hvdcore.files.hub import first_line
from textgen.pretrained.hf_folder import INDEX, WEIGHTS, check_files

__all__ = ["HubModel", "find_model"]

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
