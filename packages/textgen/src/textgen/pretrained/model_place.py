"""Where a model lies, whatever names it: a run, a folder, or a hub id, which is then fetched."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvdcore.files.json_files import read_json_object
from hvdcore.run.run_dir import RunDir
from textgen.data.prepare import default_cache_dir
from textgen.pretrained.hub import HubModel, find_model
from textgen.pretrained.hub_fetch import fetch_model
from textgen.pretrained.saved_model import CONFIG, WEIGHTS

if TYPE_CHECKING:
    from hvdcore.runtime.world import World

__all__ = ["ModelPlace", "find_place", "look_for_model", "place_on_all_ranks", "read_model_config"]


@dataclass(frozen=True)
class ModelPlace:
    """Where a model lies on this machine.

    Attributes:
        name: what the user called it.
        folder: weights as safetensors, config.json and tokenizer.
        run: the run directory that it is the model of, if any.
        revision: the commit, for a model of the hub.
    """

    name: str
    folder: Path
    run: Path | None = None
    revision: str | None = None


def find_place(name: str | Path) -> ModelPlace:
    """Where the model is, after it was fetched if it comes from the hub. In one process.

    Raises:
        UserError: no such model, or the hub fails.
    """
    found = _look_for(name)
    return found if isinstance(found, ModelPlace) else _fetch(found)


def look_for_model(name: str | Path) -> None:
    """Look whether `name` may be a model, without asking the hub.

    Raises:
        UserError: it is a path, and no run or model is there.
    """
    if _is_path(name):
        _on_disk(Path(name))


def place_on_all_ranks(name: str | Path, world: World) -> ModelPlace:
    """As `find_place`: rank 0 asks the hub, one rank of each host fetches. Every rank must call."""
    from hvdcore.torch import any_rank, broadcast_object

    # One answer for all hosts: the hub may change between two questions.
    found = _look_for(name) if world.is_root else None
    told = broadcast_object(asdict(found) if isinstance(found, HubModel) else None)
    if told is None:
        any_rank(False)
        return found if isinstance(found, ModelPlace) else _on_disk(Path(name))
    model = HubModel(told["hub_id"], told["revision"], tuple(told["files"]))
    if world.local_rank == 0:
        _fetch(model)
    any_rank(False)
    return _fetch(model)


def _look_for(name: str | Path) -> ModelPlace | HubModel:
    return _on_disk(Path(name)) if _is_path(name) else find_model(str(name), default_cache_dir())


def _is_path(name: str | Path) -> bool:
    text, path = str(name), Path(name).expanduser()
    looks_like_one = path.is_absolute() or text.startswith((".", "~")) or text.count("/") > 1
    return looks_like_one or path.exists()


def _on_disk(path: Path) -> ModelPlace:
    path = path.expanduser()
    if path.is_dir() and _is_model(path):
        return ModelPlace(str(path), path)
    run = RunDir.open(path)
    return ModelPlace(str(path), run.model, run=run.path)


def _fetch(model: HubModel) -> ModelPlace:
    folder = fetch_model(model, default_cache_dir())
    return ModelPlace(model.hub_id, folder, revision=model.revision)


def _is_model(folder: Path) -> bool:
    """A run has a config.json too, but no architecture in it."""
    return (folder / WEIGHTS).is_file() or "model_type" in read_model_config(folder)


def read_model_config(folder: Path) -> dict[str, Any]:
    """What config.json holds; nothing where there is none."""
    if not (folder / CONFIG).is_file():
        return {}
    return read_json_object(folder / CONFIG)
