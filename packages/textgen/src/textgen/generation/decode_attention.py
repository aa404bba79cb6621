"""The attention of a decode step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from textgen.generation.decode_weights import AttentionWeights
from textgen.generation.kv_cache import KVCache
from textgen.model.config import ModelConfig

__all__ = ["DecodeAttention"]

CHUNK = 32
"""Attention reads the cache up to the next multiple of it, so that views last this many steps."""


class DecodeAttention:
    """The attention layers' part of a batch's decode step; they share their buffers.

    Args:
        x: [B, D], the residual stream, added to.
        normed: [B, D], what a layer reads.
        rotation: [B, head_dim], of each row's position: cosine, sine, cosine, ...
    """

    def __init__(
        self,
        layers: list[AttentionWeights],
        config: ModelConfig,
        cache: KVCache,
        x: Tensor,
        normed: Tensor,
        rotation: Tensor,
    ) -> None:
        self._cache = cache
        batch, head_dim, group = cache.num_rows, config.head_dim, config.num_kv_heads
        heads = config.num_heads
        self._rotation = _complex(rotation)[:, None]  # [B, 1, Dh / 2]
        qkv = x.new_empty(batch, heads + 2 * group, head_dim)
        self._qk, self._new_values = qkv[:, : heads + group], qkv[:, heads + group :]
        self._qk_norm = x.new_empty(batch, heads + group, 1)
        turned = _complex(qkv)
        self._queries_in, self._keys_in = turned[:, :heads], turned[:, heads : heads + group]
        queries = x.new_empty(batch, heads, head_dim)
        self._queries_out = _complex(queries)
        self._queries = queries.view(batch * group, heads // group, head_dim)
        self._attended = torch.empty_like(self._queries)
        self._qk_eps = x.new_tensor(math.sqrt(config.norm_eps * head_dim))
        attended = self._attended.view(batch, config.embed_dim)
        self._products = [
            (
                layer.qk_norm,
                layer.qkv.bound(normed, qkv.view(batch, -1)),
                layer.output.bound(attended, x, add=True),
            )
            for layer in layers
        ]
        self._views_end = -1

    def open_slot(self) -> None:
        """Make the cache's next slot, of the token to come, seen by every row."""
        if self._cache.end >= self._views_end:
            self._make_views()
        self._slot = self._cache.end - self._views_start
        self._open[self._slot].zero_()

    def __call__(self, index: int) -> None:
        """Attention number `index`, at the slot that was opened."""
        qk_norm, qkv, output = self._products[index]
        views = self._views[index]
        qkv()
        if qk_norm is not None:
            torch.linalg.vector_norm(self._qk, 2, -1, True, out=self._qk_norm)
            torch.hypot(self._qk_norm, self._qk_eps, out=self._qk_norm)
            self._qk.div_(self._qk_norm).mul_(qk_norm)
        torch.mul(self._queries_in, self._rotation, out=self._queries_out)
        torch.mul(self._keys_in, self._rotation, out=views.key_slots[self._slot])
        views.value_slots[self._slot].copy_(self._new_values)
        torch.baddbmm(self._mask, self._queries, views.keys, out=self._scores)
        torch.softmax(self._scores, -1, out=self._shares)
        torch.bmm(self._shares, views.values, out=self._attended)
        output()

    def _make_views(self) -> None:
        """Views of the cache up to the next chunk's end, and of its slots in the chunk."""
        cache = self._cache
        self._views_start = cache.end
        self._views_end = min((cache.end // CHUNK + 1) * CHUNK, cache.capacity)
        self._mask = cache.mask[..., : self._views_end]
        self._open = cache.mask[..., cache.end : self._views_end].unbind(-1)
        self._scores = self._queries.new_empty(*self._queries.shape[:2], self._views_end)
        self._shares = torch.empty_like(self._scores)
        self._views = [
            _LayerViews(keys, values, cache.end, self._views_end)
            for keys, values in zip(cache.keys, cache.values, strict=True)
        ]


class _LayerViews:
    """One layer's cache [B, Hkv, capacity, Dh], seen up to `end`, and its slots from `start`."""

    def __init__(self, keys: Tensor, values: Tensor, start: int, end: int) -> None:
        self.keys = keys.flatten(0, 1)[:, :end].transpose(1, 2)  # [B x Hkv, Dh, end]
        self.values = values.flatten(0, 1)[:, :end]
        self.key_slots = _complex(keys[:, :, start:end]).unbind(2)
        self.value_slots = values[:, :, start:end].unbind(2)


def _complex(x: Tensor) -> Tensor:
    """Neighbouring pairs of the last dimension as complex numbers, in place."""
    return torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))
