"""Loading a folder in the form of `transformers`: safetensors and JSON, no code of its own.

Writing an adapted model to a folder that plain `transformers` loads, safetensors and JSON.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from hvdcore.errors import UserError
from hvdcore.files.hub import first_line
from hvdcore.files.json_files import read_json_object
from textgen.model.causal_lm import CausalLM, quiet_transformers
from textgen.pretrained.saved_model import replace_folder
from textgen.tokenizer.tokenizer import Tokenizer

__all__ = [
    "check_files",
    "load_causal_lm",
    "save_causal_lm",
]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def load_causal_lm(folder: Path) -> CausalLM:
    """The causal language model in a folder, as float32; torch's random state is left as it was.

    The weights are memory mapped: ranks of one host read them from the disk once.

    Raises:
        UserError: no such model, one that needs code of its own or a pickle, or damaged weights.
    """
    content = read_json_object(folder / CONFIG)
    check_config(content, str(folder / CONFIG))
    check_files((path.name for path in folder.iterdir()), str(folder))
    if (folder / INDEX).is_file() and not (folder / WEIGHTS).is_file():
        _check_index(folder)
    return CausalLM(_from_pretrained(folder))


def check_config(content: Mapping[str, Any], where: str) -> None:
    """Refuse what is no causal language model of the installed `transformers`.

    Raises:
        UserError: naming the file `where` and what is wrong in it.
    """
    if content.get("auto_map"):
        raise UserError(
            f"{where}: the model brings code of its own (auto_map), which is never run; give a "
            "model whose architecture is part of transformers"
        )
    from transformers import __version__
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = content.get("model_type")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"{where}: model_type is {kind!r}, no causal language model of transformers "
            f"{__version__}; give one such as gpt2"
        )


def check_files(names: Iterator[str], where: str) -> None:
    """Refuse a folder, on the disk or on the hub, without safetensors.

    Raises:
        UserError: saying what there is in their place.
    """
    found = sorted(names)
    if WEIGHTS in found or INDEX in found:
        return
    pickles = [name for name in found if name.endswith(_PICKLES)]
    if pickles:
        raise UserError(
            f"{where}: its weights are a pickle ({pickles[0]}), which can run code when it is "
            f"loaded; give a model with {WEIGHTS} (save_pretrained of transformers writes one)"
        )
    raise UserError(f"{where}: no {WEIGHTS}; give a folder with a whole model")


def _check_index(folder: Path) -> None:
    shards = read_json_object(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict):
        raise UserError(f"{folder / INDEX}: no weight_map; copy the model anew")
    for name in sorted({str(shard) for shard in shards.values()}):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(f"{folder / INDEX}: {name!r} is no safetensors file beside it")
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: missing; copy the model anew")


def _from_pretrained(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            model, info = AutoModelForCausalLM.from_pretrained(
                folder,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # config, weights and shapes each raise their own
        raise UserError(
            f"{folder}: transformers cannot load it ({first_line(error)}); copy the model anew"
        ) from error
    # transformers would draw at random what the file does not hold.
    missing = sorted(info["missing_keys"])
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(
            f"{folder / WEIGHTS}: {missing[0]} is missing{more}; weights and config.json must be "
            "of one model"
        )
    return model


def save_causal_lm(folder: Path, model: CausalLM, tokenizer: Tokenizer) -> None:
    """Write the folder whole, in place of what was there; LoRA adapters go into the weights.

    Rank 0 only.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    # A copy: parameters in training are views of one buffer, which safetensors would not take.
    plain = copy.deepcopy(model.hf) if model.adapter is None else model.adapter.merged()

    def write(target: Path) -> None:
        with quiet_transformers():
            plain.save_pretrained(target)
        tokenizer.save(target)

    replace_folder(folder, write)
