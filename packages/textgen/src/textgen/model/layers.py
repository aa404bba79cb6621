"""The layers of the transformer, named as Llama's and Qwen3's are in `transformers`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textgen.model.config import ModelConfig
from textgen.model.short_conv import ShortConv
from textgen.model.token_cache import TokenCache

__all__ = ["Attention", "Layer", "RMSNorm", "SwiGLU"]
__all__ += ["apply_rotary", "causal_mask", "rotary_tables"]


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
            # One query behind a cache sees all its keys; the kernel would show it the first alone.
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
    """Attention or a short convolution, then SwiGLU, each normalised before and added to the
    residual stream."""

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
