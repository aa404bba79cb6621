"""The part of a config.json that only LFM2 has: which layers attend, and the short convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hvdcore.errors import Problems
from textgen.model.config import ModelConfig

__all__ = ["lfm2_fields", "short_convolutions"]

_LAYER_TYPES = {True: "full_attention", False: "conv"}


def lfm2_fields(config: ModelConfig, end_token: int) -> dict[str, Any]:
    """What config.json says beside the fields of the other architectures."""
    attends = [config.attends(layer) for layer in range(config.num_layers)]
    return {
        "layer_types": [_LAYER_TYPES[attention] for attention in attends],
        "full_attn_idxs": [layer for layer, attention in enumerate(attends) if attention],
        "conv_L_cache": config.conv_kernel,
        "conv_bias": False,
        # True would round intermediate_size.
        "block_auto_adjust_ff_dim": False,
        "pad_token_id": end_token,
    }


def short_convolutions(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of `ModelConfig` that the others do not have, from a config.json.

    Raises:
        UserError: layers that this model cannot be made of.
    """
    problems = Problems()
    kernel, found = content.get("conv_L_cache", 3), content.get("layer_types")
    for field, wanted in (("conv_bias", False), ("block_auto_adjust_ff_dim", False)):
        if content.get(field, not wanted) != wanted:
            problems.add(where, f"{field} is not {str(wanted).lower()}; only that can be loaded")
    if not isinstance(kernel, int):
        problems.add(where, f"conv_L_cache is {kernel!r}; give a whole number")
    every = _attention_every(found) if isinstance(found, list) else None
    if every is None:
        problems.add(where, "layer_types do not repeat, or the last is not full_attention")
    problems.raise_if_any()
    assert every is not None
    return {"attention_every": every, "conv_kernel": kernel}


def _attention_every(layer_types: list[Any]) -> int | None:
    """The period, counted back from the last layer; None if there is none."""
    backwards = layer_types[::-1]
    for every in range(1, len(backwards) + 1):
        if backwards == [_LAYER_TYPES[place % every == 0] for place in range(len(backwards))]:
            return every
    return None
