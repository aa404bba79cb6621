"""Sizes in the config.json of a model of somebody else, against what its weights can hold.

A model is made before its weights are read: one with a million layers would be made for hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hvdcore.errors import UserError
from hvdcore.files.json_files import read_json_object

__all__ = ["check_layers"]

_LAYERS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers",
)  # fmt: skip


def check_layers(content: Mapping[str, Any], folder: Path) -> None:
    """Check that the weights have a tensor for each layer at least.

    Args:
        content: what the config.json in the folder holds.

    Raises:
        UserError: they have not.
    """
    count = _num_tensors(folder)
    asked = {name: value for name in _LAYERS if isinstance(value := content.get(name), int)}
    for name, value in asked.items():
        if count is not None and value > count:
            raise UserError(
                f"{folder / 'config.json'}: {name} is {value}, and the weights have {count} tensors"
                " only; weights and config.json must belong together"
            )


def _num_tensors(folder: Path) -> int | None:
    """None where the weights cannot be read, which their loading reports."""
    path, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if path.is_file():
        try:
            with safe_open(path, framework="pt") as file:
                return len(file.keys())
        except (SafetensorError, OSError):
            return None
    shards = read_json_object(index).get("weight_map") if index.is_file() else None
    return len(shards) if isinstance(shards, dict) else None
