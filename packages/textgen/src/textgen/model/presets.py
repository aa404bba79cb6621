"""Named model sizes."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hvdcore.errors import UserError
from textgen.model.config import ModelConfig
from textgen.model.gpt2 import GPT2_PRESETS, Gpt2Preset

__all__ = ["PRESETS", "Preset", "preset"]


@dataclass(frozen=True)
class Preset:
    """The part of a `ModelConfig` that a name stands for."""

    num_layers: int
    num_heads: int
    num_kv_heads: int
    embed_dim: int
    mlp_dim: int
    context_length: int = 1024
    """Unless the caller sets another."""
    rope_theta: float = 10_000.0
    attention_every: int = 1

    def config(self, vocab_size: int, **changes: int | float | bool | None) -> ModelConfig:
        """The full configuration, once the tokenizer's vocabulary is known.

        Args:
            changes: fields of `ModelConfig` to set otherwise; None keeps the preset's. A new
                `num_heads` alone also sets `num_kv_heads`.

        Raises:
            UserError: the changes do not make a model.
        """
        wanted = {name: value for name, value in changes.items() if value is not None}
        if "num_heads" in wanted:
            wanted.setdefault("num_kv_heads", wanted["num_heads"])
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return ModelConfig(vocab_size=vocab_size, **{**own, **wanted})


PRESETS: dict[str, Preset | Gpt2Preset] = {
    "char": Preset(6, 4, 4, 104, 272, context_length=64, rope_theta=1000.0, attention_every=3),
    "1m": Preset(4, 4, 2, 128, 384, context_length=128, rope_theta=1000.0),
    "10m": Preset(6, 6, 2, 384, 1024, context_length=256),
    "30m": Preset(8, 8, 4, 512, 1408, context_length=512),
    "gpt2-small": Preset(12, 12, 12, 768, 2048),
    **GPT2_PRESETS,
}
"""By name. Parameters of ours, without the embeddings: 0.77, 0.79, 9.4, 23.6 and 85 million."""


def preset(name: str) -> Preset | Gpt2Preset:
    """The preset of that name.

    Raises:
        UserError: there is none.
    """
    if name not in PRESETS:
        raise UserError(f"model: no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
