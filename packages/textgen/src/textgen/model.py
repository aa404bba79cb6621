"""The decoder-only transformer: its configuration, layers, logits and loss.

The parts, their order and the parameters' names are those of Llama in `transformers` (Qwen3 with
`qk_norm`), so a state dict of one loads into the other unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise ValueError("; ".join(problems))

    def _problems(self) -> list[str]:
        counts = ("vocab_size", "context_length", "num_layers", "num_heads", "num_kv_heads")
        problems = [
            f"{name} must be at least 1, not {getattr(self, name)}"
            for name in (*counts, "embed_dim", "mlp_dim")
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
        return problems

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def num_parameters(self) -> int:
        """Parameters of the model, the embedding included, a tied matrix counted once."""
        kv_dim = self.num_kv_heads * self.head_dim
        attention = 2 * self.embed_dim * (self.embed_dim + kv_dim)
        norms = 2 * self.embed_dim + (2 * self.head_dim if self.qk_norm else 0)
        layer = attention + 3 * self.embed_dim * self.mlp_dim + norms
        embeddings = self.vocab_size * self.embed_dim * (1 if self.tie_embeddings else 2)
        return embeddings + self.num_layers * layer + self.embed_dim


class KeyValueCache(Protocol):
    """What `Transformer.forward` asks of a cache while generating."""

    def update(self, layer: int, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Store one layer's new keys and values, each [B, num_kv_heads, T, head_dim], at positions
        start .. start + T - 1; return all from position 0: [B, num_kv_heads, start + T, head_dim].
        """
        ...


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang & Sennrich 2019)."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotary_tables(length: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles position x theta^(-2i / head_dim), each [length, head_dim].

    Dimension i is paired with i + head_dim / 2 (the 'rotate_half' convention of `transformers`).
    """
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x [..., T, head_dim] by the tables [T, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    """Causal grouped-query self-attention with rotary positions."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        self.grouped = config.num_kv_heads != config.num_heads
        kv_dim = config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.embed_dim, config.embed_dim, bias=False)
        self.k_proj = nn.Linear(config.embed_dim, kv_dim, bias=False)
        self.v_proj = nn.Linear(config.embed_dim, kv_dim, bias=False)
        self.o_proj = nn.Linear(config.embed_dim, config.embed_dim, bias=False)
        self.q_norm: nn.Module = nn.Identity()
        self.k_norm: nn.Module = nn.Identity()
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
            self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def forward(
        self,
        x: Tensor,  # [B, T, D]
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: KeyValueCache | None,
        start: int,
    ) -> Tensor:
        heads = (*x.shape[:2], -1, self.head_dim)
        queries = self.q_norm(self.q_proj(x).view(heads)).transpose(1, 2)  # [B, H, T, Dh]
        keys = self.k_norm(self.k_proj(x).view(heads)).transpose(1, 2)  # [B, Hkv, T, Dh]
        values = self.v_proj(x).view(heads).transpose(1, 2)
        queries = apply_rotary(queries, *rotary)
        keys = apply_rotary(keys, *rotary)
        if cache is not None:
            keys, values = cache.update(self.layer, keys, values, start)
        attended = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None and x.shape[1] > 1,
            enable_gqa=self.grouped,
        )
        return self.o_proj(attended.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.embed_dim, config.mlp_dim, bias=False)
        self.up_proj = nn.Linear(config.embed_dim, config.mlp_dim, bias=False)
        self.down_proj = nn.Linear(config.mlp_dim, config.embed_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention, then SwiGLU, each normalised before and added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.embed_dim, config.norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.embed_dim, config.norm_eps)
        self.mlp = SwiGLU(config)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: KeyValueCache | None,
        start: int,
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotary, mask, cache, start)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embedding, layers and final norm: tokens [B, T] -> hidden states [B, T, D]."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embed_dim)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.embed_dim, config.norm_eps)
        cos, sin = rotary_tables(config.context_length, config.head_dim, config.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(
        self, tokens: Tensor, cache: KeyValueCache | None, start: int, mask: Tensor | None
    ) -> Tensor:
        length = tokens.shape[1]
        assert start + length <= len(self.cos), "more tokens than context_length"
        if mask is None and start > 0 and length > 1:
            mask = causal_mask(length, start, tokens.device)
        x = self.embed_tokens(tokens)
        rotary = (self.cos[start : start + length], self.sin[start : start + length])
        for layer in self.layers:
            x = layer(x, rotary, mask, cache, start)
        return self.norm(x)


def causal_mask(length: int, start: int, device: torch.device) -> Tensor:
    """[length, start + length] of bool: query i, at position start + i, sees keys up to it."""
    mask = torch.ones(length, start + length, dtype=torch.bool, device=device)
    return mask.tril(diagonal=start)


class Transformer(nn.Module):
    """A decoder-only language model, initialised from torch's global random state."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.reset_parameters()

    @property
    def num_parameters(self) -> int:
        """Parameters, the embedding included, a tied matrix counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def reset_parameters(self) -> None:
        """Draw new weights: matrices N(0, 1 / fan_in), embeddings N(0, 0.02^2), and the
        projections that write to the residual stream zero, so that training starts from the
        identity and from uniform-like logits."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.ones_(parameter)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(parameter)
            elif name.endswith(("embed_tokens.weight", "lm_head.weight")):
                nn.init.normal_(parameter, std=0.02)
            else:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)

    def forward(
        self,
        tokens: Tensor,
        cache: KeyValueCache | None = None,
        start: int = 0,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, T, V] of the token after each of tokens [B, T] (integers).

        Args:
            cache: keys and values of the positions before `start`; the new ones are stored in it.
            start: position of tokens[:, 0]; above 0 only with a cache.
            mask: bool, broadcast to [B, H, T, start + T], True where a query may look; None is
                causal. Positions are relative under the rotation, so a left-padded batch needs
                nothing but its mask.
        """
        return self.lm_head(self.model(tokens, cache, start, mask))

    def loss(
        self, tokens: Tensor, targets: Tensor, reduction: Literal["sum", "mean", "none"] = "sum"
    ) -> Tensor:
        """Negative log-likelihood in nats of targets [B, T] given tokens [B, T].

        Targets of -100 count for nothing. 'none' gives [B * T].
        """
        logits = self(tokens).flatten(0, 1).float()
        return F.cross_entropy(logits, targets.flatten(), reduction=reduction)
