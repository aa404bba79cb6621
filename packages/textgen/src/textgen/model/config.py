"""The shape of the transformer: everything that is needed to build it again.

Loads no framework.
"""

from __future__ import annotations

from dataclasses import dataclass

from hvdcore.errors import UserError

__all__ = ["ModelConfig"]


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a `Transformer`; everything needed to build it again."""

    vocab_size: int
    """Token ids run from 0 to vocab_size - 1."""
    context_length: int
    """The most tokens that the model can attend to."""
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
    """1: every layer attends. n: each n-th does, counted back from the last; the others mix their
    tokens by a gated short convolution, as in LFM2."""
    conv_kernel: int = 3
    """Tokens that a short convolution sees, its own among them."""

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
                "architecture of transformers has short convolutions and plain attention"
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
