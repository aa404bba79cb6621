"""The architecture of GPT-2, for comparing ours with it: learned positions, LayerNorm, GELU, biases
(Radford et al. 2019). Its layers are those of `transformers`. Loads no framework until it is built.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from hvdcore.errors import Problems

if TYPE_CHECKING:
    from textgen.model.causal_lm import CausalLM

__all__ = ["GPT2_PRESETS", "Gpt2Preset", "Gpt2Shape", "build_gpt2"]


@dataclass(frozen=True)
class Gpt2Shape:
    """Everything needed to build the model again."""

    vocab_size: int
    context_length: int
    num_layers: int
    num_heads: int
    embed_dim: int
    mlp_dim: int
    """Width of the hidden layer of the MLP; GPT-2's own is 4 x embed_dim."""

    def __post_init__(self) -> None:
        problems = Problems()
        for field in fields(self):
            if getattr(self, field.name) < 1:
                problems.add(field.name, f"got {getattr(self, field.name)}; give 1 or more")
        problems.raise_if_any()
        if self.embed_dim % self.num_heads:
            problems.add(
                "embed_dim",
                f"got {self.embed_dim}; give a multiple of num_heads ({self.num_heads})",
            )
        problems.raise_if_any()

    @property
    def num_parameters(self) -> int:
        """Parameters of the model, the tied embedding counted once."""
        dim, mlp = self.embed_dim, self.mlp_dim
        attention = 4 * dim * dim + 4 * dim
        layer = attention + 2 * dim * mlp + mlp + dim + 4 * dim
        return (self.vocab_size + self.context_length) * dim + self.num_layers * layer + 2 * dim


@dataclass(frozen=True)
class Gpt2Preset:
    """The part of a `Gpt2Shape` that a name stands for."""

    num_layers: int
    num_heads: int
    embed_dim: int
    mlp_dim: int
    context_length: int

    def config(self, vocab_size: int, **changes: int | None) -> Gpt2Shape:
        """The full shape, once the tokenizer's vocabulary is known.

        Args:
            changes: fields to set otherwise; None keeps the preset's.

        Raises:
            UserError: the changes do not make a GPT-2.
        """
        wanted = {name: value for name, value in changes.items() if value is not None}
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        problems = Problems()
        for name in sorted(wanted.keys() - own.keys()):
            problems.add(name, "GPT-2 has no such part; leave it out, or take another --model")
        problems.raise_if_any()
        return Gpt2Shape(vocab_size, **{**own, **wanted})


GPT2_PRESETS = {
    "gpt2-style-1m": Gpt2Preset(4, 4, 128, 512, context_length=128),
    "gpt2-style-10m": Gpt2Preset(6, 6, 384, 1280, context_length=256),
    "gpt2-style-30m": Gpt2Preset(8, 8, 512, 1856, context_length=512),
    "gpt2-style-small": Gpt2Preset(12, 12, 768, 3072, context_length=1024),
}
"""By name; each has the depth, width and matrix elements of the preset of ours of that size."""


def build_gpt2(shape: Gpt2Shape, end_token: int) -> CausalLM:
    """A new model, drawn from torch's global random state as `transformers` does: N(0, 0.02^2), the
    projections to the residual stream divided by sqrt(2 x layers).

    Args:
        end_token: begins and ends every document.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    from textgen.model.causal_lm import CausalLM

    config = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.context_length,
        n_embd=shape.embed_dim,
        n_layer=shape.num_layers,
        n_head=shape.num_heads,
        n_inner=shape.mlp_dim,
        bos_token_id=end_token,
        eos_token_id=end_token,
    )
    return CausalLM(GPT2LMHeadModel(config))
