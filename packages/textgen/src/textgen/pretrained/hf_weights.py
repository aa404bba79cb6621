"""The weights' names in `transformers`, and back: LFM2's differ from Llama's, which are ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from textgen.model.config import ModelConfig

__all__ = ["from_hf", "to_hf"]

_LFM2_NAMES = (
    ("model.norm.", "model.embedding_norm."),
    (".input_layernorm.", ".operator_norm."),
    (".post_attention_layernorm.", ".ffn_norm."),
    (".self_attn.q_norm.", ".self_attn.q_layernorm."),
    (".self_attn.k_norm.", ".self_attn.k_layernorm."),
    (".self_attn.o_proj.", ".self_attn.out_proj."),
    (".mlp.gate_proj.", ".feed_forward.w1."),
    (".mlp.up_proj.", ".feed_forward.w3."),
    (".mlp.down_proj.", ".feed_forward.w2."),
    (".conv.o_proj.", ".conv.out_proj."),
    (".conv.taps", ".conv.conv.weight"),
)
"""Ours, theirs."""
# LFM2 stacks these three, in this order.
_STACKED = ("in_gate_proj", "out_gate_proj", "value_proj")
_STACK = ".conv.in_proj.weight"


def to_hf(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our weights by the names of the architecture that `hf_config` writes."""
    if not config.num_conv_layers:
        return dict(weights)
    named = {_renamed(name, 0, 1): value for name, value in weights.items()}
    for prefix in _conv_layers(config):
        parts = [named.pop(f"{prefix}.conv.{part}.weight") for part in _STACKED]
        named[prefix + _STACK] = torch.cat(parts)
    return named


def from_hf(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """What `to_hf` was given."""
    if not config.num_conv_layers:
        return dict(weights)
    named = dict(weights)
    for prefix in _conv_layers(config):
        parts = named.pop(prefix + _STACK).chunk(len(_STACKED))
        for part, value in zip(_STACKED, parts, strict=True):
            named[f"{prefix}.conv.{part}.weight"] = value
    return {_renamed(name, 1, 0): value for name, value in named.items()}


def _renamed(name: str, ours: int, theirs: int) -> str:
    for pair in _LFM2_NAMES:
        name = name.replace(pair[ours], pair[theirs])
    return name


def _conv_layers(config: ModelConfig) -> list[str]:
    return [
        f"model.layers.{layer}" for layer in range(config.num_layers) if not config.attends(layer)
    ]
