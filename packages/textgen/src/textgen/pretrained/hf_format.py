"""The format of `transformers`: config.json and the names of the weights, from ours and back.

A model is a Llama without normalized queries and keys, a Qwen3 with them, and an LFM2 with short
convolutions; nothing else, and no remote code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hvdcore.errors import Problems
from textgen.model.config import ModelConfig

__all__ = [
    "architecture_name",
    "from_hf",
    "generation_config",
    "hf_config",
    "lfm2_fields",
    "model_config",
    "short_convolutions",
    "to_hf",
]

_LAYER_TYPES = {True: "full_attention", False: "conv"}


_NAMES = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "embed_dim": "hidden_size",
    "mlp_dim": "intermediate_size",
    "tie_embeddings": "tie_word_embeddings",
}
_EPS = {"llama": "rms_norm_eps", "qwen3": "rms_norm_eps", "lfm2": "norm_eps"}
_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "lfm2": "Lfm2ForCausalLM",
}
# Features of the architectures that this model does not have.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_sliding_window": (False,),
    "rope_scaling": (None,),
    "auto_map": (None,),
    "quantization_config": (None,),
}

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
"""Parts of the names of parameters: ours, and those of LFM2."""
# LFM2 concatenates these three, in this order.
_STACKED = ("in_gate_proj", "out_gate_proj", "value_proj")
_STACK = ".conv.in_proj.weight"


def architecture_name(config: ModelConfig) -> str:
    """The equivalent class of `transformers`."""
    return _ARCHITECTURES[_kind(config)]


def _kind(config: ModelConfig) -> str:
    if config.num_conv_layers:
        return "lfm2"
    return "qwen3" if config.qk_norm else "llama"


def hf_config(
    config: ModelConfig, end_token: int, begin_token: int | None = None
) -> dict[str, Any]:
    """The content of config.json; `end_token` ends every document, and begins it where there is no
    `begin_token`."""
    kind = _kind(config)
    return {
        "architectures": [_ARCHITECTURES[kind]],
        "model_type": kind,
        **{theirs: getattr(config, ours) for ours, theirs in _NAMES.items()},
        _EPS[kind]: config.norm_eps,
        "head_dim": config.head_dim,
        # transformers 4 reads the first, transformers 5 the second.
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "bos_token_id": end_token if begin_token is None else begin_token,
        "eos_token_id": end_token,
        "dtype": "float32",
        "use_cache": True,
        **(lfm2_fields(config, end_token) if kind == "lfm2" else {}),
    }


def generation_config(end_token: int, begin_token: int | None = None) -> dict[str, Any]:
    """The content of generation_config.json."""
    begin = end_token if begin_token is None else begin_token
    return {"bos_token_id": begin, "eos_token_id": end_token, "pad_token_id": end_token}


def model_config(content: Mapping[str, Any], where: str) -> ModelConfig:
    """The shape that a config.json describes.

    Args:
        where: the file, for messages.

    Raises:
        UserError: another architecture, a missing field, or a feature this model lacks.
    """
    problems = Problems()
    kind = str(content.get("model_type"))
    if kind not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        problems.add(where, f"model_type is {kind!r}; only {known} can be loaded")
        problems.raise_if_any()
    for field, allowed in _PLAIN.items():
        if content.get(field, allowed[0]) not in allowed:
            problems.add(where, f"{field} is {content[field]!r}; only {allowed[0]!r} can be loaded")
    rope = content.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        problems.add(where, f"rope_type is {rope['rope_type']!r}; only 'default' can be loaded")
    names = {**_NAMES, "norm_eps": _EPS[kind]}
    wrong = [name for name in names.values() if not isinstance(content.get(name), (int, float))]
    if wrong:
        problems.add(where, f"no number for {', '.join(wrong)}; save the model again")
    problems.raise_if_any()
    config = ModelConfig(
        **{ours: content[theirs] for ours, theirs in names.items()},
        rope_theta=float(rope.get("rope_theta", content.get("rope_theta", 10_000.0))),
        qk_norm=kind != "llama",
        **(short_convolutions(content, where) if kind == "lfm2" else {}),
    )
    head_dim = content.get("head_dim") or config.head_dim
    if head_dim != config.head_dim:
        problems.add(
            where, f"head_dim is {head_dim}; only hidden_size / heads = {config.head_dim} works"
        )
        problems.raise_if_any()
    return config


def lfm2_fields(config: ModelConfig, end_token: int) -> dict[str, Any]:
    """The fields of config.json that only LFM2 has."""
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
    """The fields of `ModelConfig` for short convolutions, from the config.json of an LFM2.

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
    """The period of the attention layers, counted back from the last; None if there is none."""
    backwards = layer_types[::-1]
    for every in range(1, len(backwards) + 1):
        if backwards == [_LAYER_TYPES[layer % every == 0] for layer in range(len(backwards))]:
            return every
    return None


def to_hf(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our weights under the names of the architecture that `hf_config` writes."""
    if not config.num_conv_layers:
        return dict(weights)
    named = {_renamed(name, 0, 1): value for name, value in weights.items()}
    for prefix in _conv_layers(config):
        parts = [named.pop(f"{prefix}.conv.{part}.weight") for part in _STACKED]
        named[prefix + _STACK] = torch.cat(parts)
    return named


def from_hf(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The reverse of `to_hf`."""
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
