"""The transformer: RMSNorm, rotary positions, grouped-query attention, SwiGLU, short convolutions.

Layers, their order and the names of the parameters are those of Llama in `transformers` (of Qwen3
with `qk_norm`), so a state dict of one loads into the other unchanged. With short convolutions it
is LFM2, whose names differ: see `textgen.pretrained.hf_format`.

A short convolution mixes a token with the few before it; it has the matrices of attention and no
scores. Beside attention it spares a small model from learning "the previous token" by positions:
the first layers can read n-grams directly.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textgen.model.config import ModelConfig
from textgen.model.language_model import LanguageModel

__all__ = [
    "Attention",
    "Decoder",
    "Layer",
    "ModelConfig",
    "RMSNorm",
    "ShortConv",
    "SwiGLU",
    "TokenCache",
    "Transformer",
    "apply_rotary",
    "causal_convolution",
    "causal_mask",
    "rotary_tables",
]


class TokenCache(Protocol):
    """What the model needs of a cache in generation. Attention layers and convolution layers are
    numbered separately, each from 0."""

    def update(self, layer: int, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Store one attention's new keys and values, each [B, num_kv_heads, T, head_dim], at
        positions start .. start + T - 1; return all from position 0, each
        [B, num_kv_heads, start + T, head_dim].
        """
        ...

    def extend(self, layer: int, inputs: Tensor, start: int) -> Tensor:
        """Store one convolution's new inputs [B, T, D] at positions start .. start + T - 1;
        return all from position 0, [B, start + T, D].
        """
        ...


def causal_convolution(inputs: Tensor, taps: Tensor) -> Tensor:
    """Depthwise causal convolution: a weighted sum over the last K positions of each channel.

    Args:
        inputs: [B, K - 1 + T, D].
        taps: [D, 1, K] as in `nn.Conv1d`; the last one belongs to the position itself.

    Returns:
        [B, T, D].
    """
    kernel = taps.shape[-1]
    length = inputs.shape[1] - kernel + 1
    weights = taps[:, 0].unbind(-1)
    # Sums of whole tensors: on CPUs a grouped conv1d is no faster, and transposes its inputs.
    mixed = inputs[:, :length] * weights[0]
    for shift in range(1, kernel):
        mixed = mixed + inputs[:, shift : shift + length] * weights[shift]
    return mixed


class ShortConv(nn.Module):
    """o(out_gate(x) * conv(in_gate(x) * value(x))), causal and depthwise.

    From LFM2 (Liquid AI 2025, arXiv 2511.23404).
    LFM2 has the three matrices in one; separate, each is a matrix of its own for the optimizer.
    """

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.index = index
        dim = config.embed_dim
        self.in_gate_proj = nn.Linear(dim, dim, bias=False)
        self.out_gate_proj = nn.Linear(dim, dim, bias=False)
        self.value_proj = nn.Linear(dim, dim, bias=False)
        self.taps = nn.Parameter(torch.empty(dim, 1, config.conv_kernel))
        self.o_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, cache: TokenCache | None, start: int) -> Tensor:
        gated = self.in_gate_proj(x) * self.value_proj(x)  # [B, T, D]
        wanted = x.shape[1] + self.taps.shape[-1] - 1
        if cache is not None:
            gated = cache.extend(self.index, gated, start)[:, -wanted:]
        padded = F.pad(gated, (0, 0, wanted - gated.shape[1], 0))
        mixed = causal_convolution(padded, self.taps)
        output: Tensor = self.o_proj(self.out_gate_proj(x) * mixed)
        return output


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

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.index = index
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
        cache: TokenCache | None,
        start: int,
    ) -> Tensor:
        heads = (*x.shape[:2], -1, self.head_dim)
        queries = self.q_norm(self.q_proj(x).view(heads)).transpose(1, 2)  # [B, H, T, Dh]
        keys = self.k_norm(self.k_proj(x).view(heads)).transpose(1, 2)  # [B, Hkv, T, Dh]
        values = self.v_proj(x).view(heads).transpose(1, 2)
        queries = apply_rotary(queries, *rotary)
        keys = apply_rotary(keys, *rotary)
        if cache is not None:
            keys, values = cache.update(self.index, keys, values, start)
        attended = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            # With a cache a single query sees all keys; is_causal would mask all but the first.
            is_causal=mask is None and (cache is None or x.shape[1] > 1),
            enable_gqa=self.grouped,
        )
        output: Tensor = self.o_proj(attended.transpose(1, 2).flatten(2))
        return output


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.embed_dim, config.mlp_dim, bias=False)
        self.up_proj = nn.Linear(config.embed_dim, config.mlp_dim, bias=False)
        self.down_proj = nn.Linear(config.mlp_dim, config.embed_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return output


class Layer(nn.Module):
    """Attention or a short convolution, then SwiGLU; pre-norm, with residual connections."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attends = config.attends(layer)
        index = sum(config.attends(before) == self.attends for before in range(layer))
        self.input_layernorm = RMSNorm(config.embed_dim, config.norm_eps)
        if self.attends:
            self.self_attn = Attention(config, index)
        else:
            self.conv = ShortConv(config, index)
        self.post_attention_layernorm = RMSNorm(config.embed_dim, config.norm_eps)
        self.mlp = SwiGLU(config)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: TokenCache | None,
        start: int,
    ) -> Tensor:
        normed = self.input_layernorm(x)
        if self.attends:
            x = x + self.self_attn(normed, rotary, mask, cache, start)
        else:
            x = x + self.conv(normed, cache, start)
        output: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return output


def causal_mask(length: int, start: int, device: torch.device) -> Tensor:
    """[length, start + length] of bool: query i, at position start + i, sees keys up to it."""
    mask = torch.ones(length, start + length, dtype=torch.bool, device=device)
    return mask.tril(diagonal=start)


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
        self, tokens: Tensor, cache: TokenCache | None, start: int, mask: Tensor | None
    ) -> Tensor:
        length = tokens.shape[1]
        assert start + length <= len(self.cos), "more tokens than context_length"
        if mask is None and start > 0 and length > 1:
            mask = causal_mask(length, start, tokens.device)
        x = self.embed_tokens(tokens)
        rotary = (self.cos[start : start + length], self.sin[start : start + length])
        for layer in self.layers:
            x = layer(x, rotary, mask, cache, start)
        normed: Tensor = self.norm(x)
        return normed


class Transformer(LanguageModel):
    """A decoder-only language model, initialized from torch's global random state."""

    config: ModelConfig

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.reset_parameters()

    def tables(self) -> tuple[nn.Module, ...]:
        """The token embedding and the output projection."""
        return self.model.embed_tokens, self.lm_head

    def layers(self) -> nn.ModuleList:
        """Its `Layer` modules."""
        return self.model.layers

    def reset_parameters(self) -> None:
        """Draw new weights: matrices N(0, 1 / fan_in), embeddings N(0, 0.02^2), convolutions
        uniform within 1 / sqrt(kernel), and zero for the projections to the residual stream, so
        that training starts from the identity and from almost uniform logits."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.ones_(parameter)
            elif name.endswith("conv.taps"):
                bound = parameter.shape[-1] ** -0.5
                nn.init.uniform_(parameter, -bound, bound)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(parameter)
            elif name.endswith(("embed_tokens.weight", "lm_head.weight")):
                nn.init.normal_(parameter, std=0.02)
            else:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)

    def forward(
        self,
        tokens: Tensor,
        cache: TokenCache | None = None,
        start: int = 0,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, T, V] of the token after each of tokens [B, T] (integers).

        Args:
            cache: holds the positions before `start`, and stores the new ones.
            start: position of tokens[:, 0]; above 0 only with a cache.
            mask: bool, broadcast to [B, H, T, start + T], True where a query may attend; None is
                causal. Rotary positions are relative, so with attention alone a left-padded batch
                needs only its mask; convolutions ignore the mask.
        """
        logits: Tensor = self.lm_head(self.model(tokens, cache, start, mask))
        return logits
