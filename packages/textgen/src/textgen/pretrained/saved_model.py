"""Saving and loading a `Transformer` in the format of `transformers`: weights, config, tokenizer.

`AutoModelForCausalLM.from_pretrained(RUN/model)` loads such a folder. Weights are safetensors and
the rest is JSON: loading runs no code.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hvdcore.errors import UserError
from hvdcore.files.atomic import fsync_path, give_usual_mode, writing
from hvdcore.files.json_files import read_json_object, write_json_atomically
from textgen.model.config import ModelConfig
from textgen.model.transformer import Transformer
from textgen.pretrained.base_files import keep_base_files
from textgen.pretrained.hf_format import from_hf, generation_config, hf_config, model_config, to_hf
from textgen.pretrained.sizes import check_layers
from textgen.tokenizer.load import check_tokenizer_files, load_tokenizer
from textgen.tokenizer.tokenizer import Tokenizer

__all__ = [
    "check_files",
    "check_vocabulary",
    "load_model",
    "load_transformer",
    "replace_folder",
    "save_model",
]

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
_TYPES = ("F32", "F16", "BF16", "F64")


def save_model(
    folder: Path, model: Transformer, tokenizer: Tokenizer, base: Path | None = None
) -> None:
    """Write the folder atomically, replacing what was there. Rank 0 only.

    Args:
        base: the folder of the model that it was made from, if any (see `keep_base_files`).

    Raises:
        UserError: the disk is full or cannot be written.
    """

    def write(target: Path) -> None:
        save_file(_weights(model), target / WEIGHTS, metadata={"format": "pt"})
        ends = (tokenizer.eot_id, tokenizer.start_ids[0])
        write_json_atomically(target / CONFIG, hf_config(model.config, *ends))
        write_json_atomically(target / "generation_config.json", generation_config(*ends))
        tokenizer.save(target)
        if base is not None:
            keep_base_files(target, base)

    replace_folder(folder, write)


def load_model(
    folder: Path | str, device: torch.device | str = "cpu"
) -> tuple[Transformer, Tokenizer]:
    """The model and tokenizer that `save_model` wrote; torch's random state is left as it was.

    Any Llama, Qwen3 or LFM2 of such a shape in one safetensors file loads too, its weights as
    float32.

    Raises:
        UserError: a file is missing, damaged, or of another architecture or shape.
    """
    folder = Path(folder)
    check_files(folder)
    tokenizer = load_tokenizer(folder)
    model = load_transformer(folder, read_json_object(folder / CONFIG), tokenizer)
    return model.to(device).eval(), tokenizer


def check_files(folder: Path) -> None:
    """Check that the files of a model are there.

    Raises:
        UserError: one is missing.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder / name}: missing; give a run that has finished, or resume it "
                "(textgen train --resume auto)"
            )
    check_tokenizer_files(folder)


def load_transformer(folder: Path, content: Mapping[str, Any], tokenizer: Tokenizer) -> Transformer:
    """The model alone, on the CPU; torch's random state is left as it was.

    Args:
        content: what its config.json holds.
        tokenizer: of the model.

    Raises:
        UserError: the weights are damaged, or of another architecture or shape.
    """
    config = model_config(content, str(folder / CONFIG))
    check_vocabulary(tokenizer, config.vocab_size, folder)
    check_layers(content, folder)
    with _reading(folder / WEIGHTS):
        _check_weights(folder / WEIGHTS, config)
    try:
        with torch.random.fork_rng(devices=[]):
            model = Transformer(config)
    except (RuntimeError, MemoryError) as error:
        raise UserError(
            f"{folder / CONFIG}: a model of this shape takes more memory than there is; check "
            f"max_position_embeddings, {config.context_length}"
        ) from error
    with _reading(folder / WEIGHTS):
        _load_weights(model, folder / WEIGHTS)
    return model


def check_vocabulary(tokenizer: Tokenizer, vocab_size: int, folder: Path) -> None:
    """Check that the model has an embedding for every token.

    Raises:
        UserError: it has not.
    """
    if tokenizer.vocab_size > vocab_size:
        raise UserError(
            f"{folder / TOKENIZER}: it has {tokenizer.vocab_size} tokens and the model only "
            f"{vocab_size}; replace it by the tokenizer that the model was trained with"
        )


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder, then move it into place atomically.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    new = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    old = new.with_suffix(".old")
    with writing(folder):
        try:
            new.mkdir(parents=True)
            write(new)
            for path in new.iterdir():
                if path.is_file():
                    give_usual_mode(path)
            for path in (*new.iterdir(), new):
                fsync_path(path)
            if folder.exists():
                folder.replace(old)
            new.replace(folder)
            fsync_path(folder.parent)
        finally:
            for leftover in (new, old):
                shutil.rmtree(leftover, ignore_errors=True)


def _weights(model: Transformer) -> dict[str, Tensor]:
    return {name: value.cpu().contiguous() for name, value in _hf_weights(model).items()}


def _hf_weights(model: Transformer) -> dict[str, Tensor]:
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    if model.config.tie_embeddings:
        del weights["lm_head.weight"]  # tied to the embedding
    return to_hf(weights, model.config)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """
    Raises:
        UserError: the weights in the block are no whole file of safetensors.
    """
    try:
        yield
    except SafetensorError as error:
        raise UserError(
            f"{path}: damaged or truncated ({error}); save or copy the model again"
        ) from error


def _check_weights(path: Path, config: ModelConfig) -> None:
    """Check shapes and types before a model is made, for which config.json may ask any size.

    Raises:
        UserError: the weights are not those that config.json describes, or no real numbers.
    """
    with torch.device("meta"):
        model = Transformer(config)
    wanted = {name: tuple(value.shape) for name, value in _hf_weights(model).items()}
    with safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        found = {name: tuple(part.get_shape()) for name, part in slices.items()}
        types = {name: part.get_dtype() for name, part in slices.items()}
    _check_shapes(found, wanted, path)
    for name, kind in types.items():
        if kind not in _TYPES:
            raise UserError(
                f"{path}: {name} is of type {kind}, a quantized one; give the model that it was "
                f"made from, whose weights are of {', '.join(_TYPES)}"
            )


def _load_weights(model: Transformer, path: Path) -> None:
    weights = from_hf(load_file(path), model.config)
    if model.config.tie_embeddings:
        embedding = weights["model.embed_tokens.weight"]
        # Some tools write the tied matrix twice.
        if not torch.equal(weights.get("lm_head.weight", embedding), embedding):
            raise UserError(
                f"{path}: lm_head.weight is not the embedding, and config.json ties them "
                "(tie_word_embeddings); set it to false, or copy the model again"
            )
        weights["lm_head.weight"] = embedding
    model.load_state_dict(weights)


def _check_shapes(
    found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], path: Path
) -> None:
    """Raise UserError with the first tensor that does not match config.json."""
    missing = sorted(wanted.keys() - found.keys())
    # Some tools write the tied matrix twice.
    unknown = sorted(found.keys() - wanted.keys() - {"lm_head.weight"})
    other = sorted(name for name in wanted.keys() & found.keys() if wanted[name] != found[name])
    if not (missing or unknown or other):
        return
    if other:
        name = other[0]
        problem = f"{name} has shape {list(found[name])}, config.json says {list(wanted[name])}"
    else:
        problem = f"{missing[0]} is missing" if missing else f"it has an unknown {unknown[0]}"
    count = len(missing) + len(unknown) + len(other)
    more = f" (and {count - 1} more)" if count > 1 else ""
    raise UserError(f"{path}: {problem}{more}; weights and config.json must belong together")
