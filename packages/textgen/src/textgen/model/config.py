"""Shapes of the models, named presets of them, and the settings of LoRA. Loads no framework."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

from pydantic import Field

from hvdcore.config import Config, Flag
from hvdcore.errors import Problems, UserError

__all__ = [
    "GPT2_PRESETS",
    "IGNORE_INDEX",
    "PRESETS",
    "Gpt2Preset",
    "Gpt2Shape",
    "ModelConfig",
    "Preset",
    "preset",
]

IGNORE_INDEX = -100
"""Target of a position that does not count: `cross_entropy` of PyTorch ignores it by default."""


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a `Transformer`."""

    vocab_size: int
    """Token ids run from 0 to vocab_size - 1."""
    context_length: int
    """Longest sequence that the model can attend to, in tokens."""
    num_layers: int
    num_heads: int
    num_kv_heads: int
    """Key-value heads (Ainslie et al. 2023, GQA); num_heads must be a multiple of it."""
    embed_dim: int
    mlp_dim: int
    """Width of the SwiGLU's two hidden projections."""
    rope_theta: float = 10_000.0
    """Base of the rotary angles (Su et al. 2021)."""
    norm_eps: float = 1e-6
    tie_embeddings: bool = True
    """One matrix for the token embedding and the output projection."""
    qk_norm: bool = True
    """RMSNorm of each head's queries and keys before the rotation, as in Qwen3."""
    attention_every: int = 1
    """1: attention in every layer. n: in every n-th, counted back from the last; the others are
    gated short convolutions, as in LFM2."""
    conv_kernel: int = 3
    """Kernel size of the short convolutions, the position itself included."""

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise UserError(*problems)

    def _problems(self) -> list[str]:
        counts = ("vocab_size", "context_length", "num_layers", "num_heads", "num_kv_heads")
        problems = [
            f"{name} must be at least 1, not {getattr(self, name)}"
            for name in (*counts, "embed_dim", "mlp_dim", "attention_every", "conv_kernel")
            if getattr(self, name) < 1
        ]
        if problems:
            return problems
        if self.num_heads % self.num_kv_heads:
            problems.append(
                f"num_heads ({self.num_heads}) must be a multiple of num_kv_heads "
                f"({self.num_kv_heads})"
            )
        if self.embed_dim % (2 * self.num_heads):
            problems.append(
                f"embed_dim ({self.embed_dim}) must be a multiple of 2 x num_heads "
                f"({self.num_heads}): the rotation pairs up each head's dimensions"
            )
        if self.num_conv_layers and not self.qk_norm:
            problems.append(
                f"attention_every ({self.attention_every}) must be 1 without qk_norm: no "
                "architecture of transformers combines short convolutions with plain attention"
            )
        return problems

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    def attends(self, layer: int) -> bool:
        """Whether layer number `layer`, from 0, is attention; a short convolution otherwise."""
        return (self.num_layers - 1 - layer) % self.attention_every == 0

    @property
    def num_attention_layers(self) -> int:
        return -(-self.num_layers // self.attention_every)

    @property
    def num_conv_layers(self) -> int:
        return self.num_layers - self.num_attention_layers

    @property
    def num_parameters(self) -> int:
        """Parameters of the model, the embedding included, a tied matrix counted once."""
        dim, kv_dim = self.embed_dim, self.num_kv_heads * self.head_dim
        attention = 2 * dim * (dim + kv_dim) + (2 * self.head_dim if self.qk_norm else 0)
        convolution = 4 * dim * dim + dim * self.conv_kernel
        mixers = self.num_attention_layers * attention + self.num_conv_layers * convolution
        layers = mixers + self.num_layers * (3 * dim * self.mlp_dim + 2 * dim)
        return layers + dim + self.vocab_size * dim * (1 if self.tie_embeddings else 2)


@dataclass(frozen=True)
class Preset:
    """The fields of a `ModelConfig` that a preset fixes."""

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
        """The full configuration for a tokenizer's vocabulary.

        Args:
            changes: fields of `ModelConfig` to override; None keeps the preset's. `num_heads` alone
                also sets `num_kv_heads`.

        Raises:
            UserError: the changes do not make a model.
        """
        wanted = {name: value for name, value in changes.items() if value is not None}
        if "num_heads" in wanted:
            wanted.setdefault("num_kv_heads", wanted["num_heads"])
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return ModelConfig(vocab_size=vocab_size, **{**own, **wanted})


class LoraFields(Config):
    """Fine-tuning with low-rank adapters (Hu et al. 2021, LoRA)."""

    panel: ClassVar[str] = "Fine-tuning"

    lora_rank: int | None = Field(None, ge=1)
    """Train LoRA adapters of this rank instead of all weights."""
    lora_alpha: float | None = Field(None, gt=0.0)
    """The output of the adapters is multiplied by alpha / rank. Default: twice the rank."""
    lora_targets: Annotated[str | None, Flag(metavar="NAME,...")] = None
    """Names of the linear layers that get adapters. Default: all but the output projection."""

    @property
    def lora_scale(self) -> float:
        """Alpha, the default resolved."""
        return self.lora_alpha or 2.0 * (self.lora_rank or 0)


@dataclass(frozen=True)
class Gpt2Shape:
    """The shape of a GPT-2 (Radford et al. 2019)."""

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
    """The fields of a `Gpt2Shape` that a preset fixes."""

    num_layers: int
    num_heads: int
    embed_dim: int
    mlp_dim: int
    context_length: int

    def config(self, vocab_size: int, **changes: int | None) -> Gpt2Shape:
        """The full shape for a tokenizer's vocabulary.

        Args:
            changes: fields to override; None keeps the preset's.

        Raises:
            UserError: the changes do not make a GPT-2.
        """
        wanted = {name: value for name, value in changes.items() if value is not None}
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        problems = Problems()
        for name in sorted(wanted.keys() - own.keys()):
            problems.add(name, "GPT-2 has no such field; leave it out, or choose another --model")
        problems.raise_if_any()
        return Gpt2Shape(vocab_size, **{**own, **wanted})


GPT2_PRESETS = {
    "gpt2-style-1m": Gpt2Preset(4, 4, 128, 512, context_length=128),
    "gpt2-style-10m": Gpt2Preset(6, 6, 384, 1280, context_length=256),
    "gpt2-style-30m": Gpt2Preset(8, 8, 512, 1856, context_length=512),
    "gpt2-style-small": Gpt2Preset(12, 12, 768, 3072, context_length=1024),
}
"""GPT-2 models with the depth, width and number of matrix elements of our preset of that size."""


PRESETS: dict[str, Preset | Gpt2Preset] = {
    "char": Preset(6, 4, 4, 104, 272, context_length=64, rope_theta=1000.0, attention_every=3),
    "1m": Preset(4, 4, 2, 128, 384, context_length=128, rope_theta=1000.0),
    "10m": Preset(6, 6, 2, 384, 1024, context_length=256),
    "30m": Preset(8, 8, 4, 512, 1408, context_length=512),
    "gpt2-small": Preset(12, 12, 12, 768, 2048),
    **GPT2_PRESETS,
}
"""Parameters of the first five, without the embeddings: 0.77, 0.79, 9.4, 23.6 and 85 million."""


def preset(name: str) -> Preset | Gpt2Preset:
    """The preset of that name.

    Raises:
        UserError: there is none.
    """
    if name not in PRESETS:
        raise UserError(f"model: no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
