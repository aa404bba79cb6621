"""Models of `transformers` in a folder: safetensors and JSON, without remote code."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from hvdcore.errors import UserError
from hvdcore.files.json_files import read_json_object
from textgen.model.causal_lm import CausalLM, quiet_transformers, transformers_must_load
from textgen.model.causality import check_causal
from textgen.pretrained.base_files import keep_base_files
from textgen.pretrained.saved_model import replace_folder
from textgen.pretrained.sizes import check_layers
from textgen.tokenizer.tokenizer import Tokenizer

__all__ = [
    "check_safetensors",
    "load_causal_lm",
    "save_causal_lm",
]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_REASON_CHARACTERS = 300
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def load_causal_lm(folder: Path, content: Mapping[str, Any] | None = None) -> CausalLM:
    """The causal language model in a folder, as float32; torch's random state is left as it was.

    The weights are memory mapped: ranks of one host read them from the disk once.

    Args:
        content: what its config.json holds; read if not given.

    Raises:
        UserError: no such model, one that needs code of its own or a pickle, or damaged weights.
    """
    content = content or read_json_object(folder / CONFIG)
    check_config(content, str(folder / CONFIG))
    check_safetensors((path.name for path in folder.iterdir()), str(folder))
    if (folder / INDEX).is_file() and not (folder / WEIGHTS).is_file():
        _check_index(folder)
    check_layers(content, folder)
    model = CausalLM(_from_pretrained(folder))
    check_causal(model, str(folder / CONFIG))
    return model


def check_config(content: Mapping[str, Any], where: str) -> None:
    """Check that it is a causal language model of the installed `transformers`.

    Raises:
        UserError: naming the file `where` and what is wrong with it.
    """
    if content.get("auto_map"):
        raise UserError(
            f"{where}: the model needs code of its own (auto_map), which is never run; give a "
            "model whose architecture is part of transformers"
        )
    from transformers import __version__
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = content.get("model_type")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"{where}: model_type {kind!r} is not a causal language model of transformers "
            f"{__version__}; give one such as gpt2"
        )


def check_safetensors(names: Iterator[str], where: str) -> None:
    """Check that the files, of a folder or on the hub, include weights as safetensors.

    Raises:
        UserError: they do not; it names pickles if there are some.
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
    raise UserError(f"{where}: no {WEIGHTS}; give a folder with a complete model")


def _check_index(folder: Path) -> None:
    shards = read_json_object(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict):
        raise UserError(f"{folder / INDEX}: no weight_map; copy the model again")
    for name in sorted({str(shard) for shard in shards.values()}):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(
                f"{folder / INDEX}: {name!r} is not a safetensors file in the same folder"
            )
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: missing; copy the model again")


def _from_pretrained(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        with (
            transformers_must_load(),
            quiet_transformers(),
            torch.random.fork_rng(devices=[]),
        ):
            model, info = AutoModelForCausalLM.from_pretrained(
                folder,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except UserError:
        raise
    except Exception as error:  # transformers has no common error for configs, weights and shapes
        quantized = "quantization_config" in read_json_object(folder / CONFIG)
        fix = "give the model before its quantization" if quantized else "copy the model again"
        raise UserError(
            f"{folder}: transformers cannot load it ({_reason(error)}); {fix}"
        ) from error
    # transformers would initialize missing weights at random.
    missing = sorted(info["missing_keys"])
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(
            f"{folder / WEIGHTS}: {missing[0]} is missing{more}; weights and config.json must "
            "belong together"
        )
    return model


def _reason(error: Exception) -> str:
    """Of several lines too: the first alone often says only where to look."""
    if "ignore_mismatched_sizes" in str(error):  # where to look is a table that is not shown
        return "the shapes of the weights are not those of config.json"
    return " ".join(str(error).split())[:_REASON_CHARACTERS] or type(error).__name__


def save_causal_lm(
    folder: Path, model: CausalLM, tokenizer: Tokenizer, base: Path | None = None
) -> None:
    """Write the folder atomically, replacing what was there; LoRA adapters are merged.

    Rank 0 only.

    Args:
        base: the folder of the model that it was made from, if any (see `keep_base_files`).

    Raises:
        UserError: the disk is full or cannot be written.
    """
    # A copy: parameters in training are views of one buffer, which safetensors refuses.
    plain = copy.deepcopy(model.hf) if model.adapter is None else model.adapter.merged()

    def write(target: Path) -> None:
        with quiet_transformers():
            plain.save_pretrained(target)
        tokenizer.save(target)
        if base is not None:
            keep_base_files(target, base)

    replace_folder(folder, write)
