"""A model's shape in the words of `transformers`' config.json, and back.

Llama without normalised queries and keys, Qwen3 with them, LFM2 with short convolutions as well;
nothing else, and no remote code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hvdcore.errors import Problems
from textgen.model.config import ModelConfig
from textgen.pretrained.hf_lfm2 import lfm2_fields, short_convolutions

__all__ = ["architecture_name", "generation_config", "hf_config", "model_config"]

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
# What the architectures could also be told to do, and this model does not.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_sliding_window": (False,),
    "rope_scaling": (None,),
}


def architecture_name(config: ModelConfig) -> str:
    """The class in `transformers` that computes the same."""
    return _ARCHITECTURES[_kind(config)]


def _kind(config: ModelConfig) -> str:
    if config.num_conv_layers:
        return "lfm2"
    return "qwen3" if config.qk_norm else "llama"


def hf_config(config: ModelConfig, end_token: int) -> dict[str, Any]:
    """The content of config.json; `end_token` begins and ends every document."""
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
        "bos_token_id": end_token,
        "eos_token_id": end_token,
        "dtype": "float32",
        "use_cache": True,
        **(lfm2_fields(config, end_token) if kind == "lfm2" else {}),
    }


def generation_config(end_token: int) -> dict[str, Any]:
    """The content of generation_config.json: where texts begin and end."""
    return {"bos_token_id": end_token, "eos_token_id": end_token, "pad_token_id": end_token}


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
