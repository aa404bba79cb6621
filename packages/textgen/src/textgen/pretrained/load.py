"""One way to a model, whatever names it: a run, a folder, or a hub id.

`open_model_on_all_ranks` is what the verbs call; `open_model` is the same in one process.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hvdcore.errors import UserError
from textgen.model.language_model import LanguageModel
from textgen.pretrained.hf_folder import load_causal_lm
from textgen.pretrained.hf_format import model_config
from textgen.pretrained.model_place import (
    ModelPlace,
    find_place,
    look_for_model,
    place_on_all_ranks,
    read_model_config,
)
from textgen.pretrained.saved_model import CONFIG, WEIGHTS, load_model
from textgen.tokenizer.tokenizer import Tokenizer, load_tokenizer

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
]


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
