"""Named model sizes."""

from __future__ import annotations

from dataclasses import dataclass

from textgen.model import ModelConfig


@dataclass(frozen=True)
class Preset:
    """The part of a `ModelConfig` that a name stands for."""

    num_layers: int
    num_heads: int
    num_kv_heads: int
    embed_dim: int
    mlp_dim: int
    context_length: int

    def config(self, vocab_size: int, context_length: int | None = None) -> ModelConfig:
        """The full configuration, once the tokenizer's vocabulary is known."""
        return ModelConfig(
            vocab_size=vocab_size,
            context_length=context_length or self.context_length,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            embed_dim=self.embed_dim,
            mlp_dim=self.mlp_dim,
        )


PRESETS = {
    "tiny": Preset(4, 4, 4, 128, 320, 64),
    "10m": Preset(6, 6, 2, 384, 1024, 256),
    "30m": Preset(8, 8, 4, 512, 1408, 512),
    "gpt2-small": Preset(12, 12, 12, 768, 2048, 1024),
}
