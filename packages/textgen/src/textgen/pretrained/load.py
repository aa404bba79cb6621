"""One way to a model, whatever names it: a run, a folder, or a hub id.

`open_model_on_all_ranks` is what the verbs call; `open_model` is the same in one process.

Where a model lies, whatever names it: a run, a folder, or a hub id, which is then fetched.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvdcore.errors import UserError
from hvdcore.files.cache import default_cache_dir
from hvdcore.files.json_files import read_json_object
from hvdcore.run.run_dir import RunDir
from textgen.model.language_model import LanguageModel
from textgen.pretrained.hf_folder import load_causal_lm
from textgen.pretrained.hf_format import model_config
from textgen.pretrained.hub import HubModel, fetch_model, find_model
from textgen.pretrained.saved_model import CONFIG, WEIGHTS, load_model
from textgen.tokenizer.load import load_tokenizer
from textgen.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

    from hvdcore.runtime.world import World

__all__ = [
    "ModelPlace",
    "OpenedModel",
    "find_place",
    "load_place",
    "look_for_model",
    "open_model",
    "open_model_on_all_ranks",
    "place_on_all_ranks",
    "read_model_config",
]


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
    return (
        _on_disk(Path(name))
        if _is_path(name)
        else find_model(str(name), default_cache_dir("textgen"))
    )


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
    folder = fetch_model(model, default_cache_dir("textgen"))
    return ModelPlace(model.hub_id, folder, revision=model.revision)


def _is_model(folder: Path) -> bool:
    """A run has a config.json too, but no architecture in it."""
    return (folder / WEIGHTS).is_file() or "model_type" in read_model_config(folder)


def read_model_config(folder: Path) -> dict[str, Any]:
    """What config.json holds; nothing where there is none."""
    if not (folder / CONFIG).is_file():
        return {}
    return read_json_object(folder / CONFIG)


@dataclass(frozen=True)
class OpenedModel:
    """A model that is ready to score and write, with the tokenizer it belongs to."""

    model: LanguageModel
    tokenizer: Tokenizer
    place: ModelPlace


def open_model(name: str | Path, device: torch.device | str = "cpu") -> OpenedModel:
    """The model that `name` says, fetched from the hub where need be. In one process.

    Args:
        name: a run directory, a folder with a model of ours or of transformers, or a hub id.

    Raises:
        UserError: no such model, or one that cannot be used.
    """
    return load_place(find_place(name), device)


def open_model_on_all_ranks(
    name: str | Path, world: World, device: torch.device | str = "cpu"
) -> OpenedModel:
    """As `open_model`; one rank of each host fetches. Every rank must call."""
    return load_place(place_on_all_ranks(name, world), device)


def load_place(
    place: ModelPlace, device: torch.device | str = "cpu", *, adapt: bool = False
) -> OpenedModel:
    """The model in a folder: as our own `Transformer` where it is one, else by transformers.

    Args:
        adapt: by transformers in any case.

    Raises:
        UserError: a file is missing, damaged, or not of this model.
    """
    if not adapt and _is_own(place.folder):
        model, tokenizer = load_model(place.folder, device)
        return OpenedModel(model, tokenizer, place)
    adapted = load_causal_lm(place.folder)
    tokenizer = load_tokenizer(place.folder)
    if tokenizer.vocab_size > adapted.config.vocab_size:
        raise UserError(
            f"{place.folder}: its tokenizer has {tokenizer.vocab_size} tokens and the model only "
            f"{adapted.config.vocab_size}; put the tokenizer there that the model was trained with"
        )
    return OpenedModel(adapted.to(device), tokenizer, place)


def _is_own(folder: Path) -> bool:
    """Whether it is of an architecture and in the form that `load_model` takes."""
    if not (folder / CONFIG).is_file():
        return True  # a run that has not finished: `load_model` says so
    if not (folder / WEIGHTS).is_file():
        return False
    try:
        model_config(read_model_config(folder), "")
    except UserError:
        return False
    return True
