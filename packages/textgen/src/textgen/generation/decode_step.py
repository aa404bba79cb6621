"""One decode step: the logits of the next token of each row, from its last token and the cache.

The arithmetic is that of the model with as few operations as possible: for small models the time
goes to calls, not to multiplications. Norm weights and scales are folded into the matrices that
follow them, queries, keys and values are one product, a rotation is one complex product, and all
buffers and views are allocated once per batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from textgen.generation.decode_weights import AttentionWeights, ConvWeights, DecodeWeights
from textgen.generation.kv_cache import KVCache
from textgen.model.config import ModelConfig

__all__ = [
    "DecodeAttention",
    "DecodeConv",
    "DecodeStep",
]

CHUNK = 32
"""Attention reads the cache up to a multiple of this, so that views are valid for as many steps."""


class DecodeAttention:
    """The attention layers of a decode step; they share their buffers.

    Args:
        x: [B, D], the residual stream, updated in place.
        normed: [B, D], the input of a layer.
        rotation: [B, head_dim], of the position of each row: cosine, sine, cosine, ...
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
        """Unmask the next slot of the cache in every row."""
        if self._cache.end >= self._views_end:
            self._make_views()
        self._slot = self._cache.end - self._views_start
        self._open[self._slot].zero_()

    def __call__(self, index: int) -> None:
        """Run attention layer `index` at the slot that was opened."""
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
        """Make the views of the cache up to the end of the next chunk, and of its slots."""
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
    """Views of the cache [B, Hkv, capacity, Dh] of a layer: up to `end`, and slots from `start`."""

    def __init__(self, keys: Tensor, values: Tensor, start: int, end: int) -> None:
        self.keys = keys.flatten(0, 1)[:, :end].transpose(1, 2)  # [B x Hkv, Dh, end]
        self.values = values.flatten(0, 1)[:, :end]
        self.key_slots = _complex(keys[:, :, start:end]).unbind(2)
        self.value_slots = values[:, :, start:end].unbind(2)


def _complex(x: Tensor) -> Tensor:
    """A view of neighboring pairs of the last dimension as complex numbers."""
    return torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))


class DecodeConv:
    """The convolution layers of a decode step; they share their buffers.

    Args:
        x: [B, D], the residual stream, updated in place.
        normed: [B, D], the input of a layer.
    """

    def __init__(
        self,
        layers: list[ConvWeights],
        config: ModelConfig,
        cache: KVCache,
        x: Tensor,
        normed: Tensor,
    ) -> None:
        self._cache = cache
        inputs = x.new_empty(len(x), 3 * x.shape[1])
        self._in_gate, self._out_gate, self._value = inputs.chunk(3, dim=1)
        self._mixed = torch.empty_like(x)
        self._weighted = x.new_empty(len(x), config.conv_kernel, config.embed_dim)
        self._products = [
            (
                layer.inputs.bound(normed, inputs),
                layer.taps,
                layer.output.bound(self._mixed, x, add=True),
            )
            for layer in layers
        ]

    def __call__(self, index: int) -> None:
        """Run convolution layer `index` at the next slot of the cache."""
        inputs, taps, output = self._products[index]
        inputs()
        window = self._cache.window(index)  # [B, K, D]
        torch.mul(self._in_gate, self._value, out=window[:, -1])
        torch.mul(window, taps, out=self._weighted)
        torch.sum(self._weighted, 1, out=self._mixed)
        self._mixed.mul_(self._out_gate)
        output()


class DecodeStep:
    """The decode step of a batch, bound to its cache; call it with the last tokens of the rows."""

    def __init__(self, weights: DecodeWeights, cache: KVCache) -> None:
        self._weights, self._cache = weights, cache
        config, device = weights.config, cache.keys.device
        batch, dim = cache.num_rows, config.embed_dim

        def buffer(*shape: int) -> Tensor:
            return torch.empty(*shape, device=device)

        self._positions = torch.tensor(cache.lengths, device=device)
        self._rotation = buffer(batch, config.head_dim)
        self._x, self._normed, self._norm = buffer(batch, dim), buffer(batch, dim), buffer(batch, 1)
        gate_up = buffer(batch, 2 * config.mlp_dim)
        self._gate, self._up = gate_up.chunk(2, dim=1)
        self._logits = buffer(batch, config.vocab_size)
        self._eps = torch.tensor(math.sqrt(config.norm_eps * dim), device=device)
        self._layers = [
            (
                mix,
                layer.gate_up.bound(self._normed, gate_up),
                layer.down.bound(self._gate, self._x, add=True),
            )
            for layer, mix in zip(weights.layers, self._mixers(), strict=True)
        ]
        self._head = weights.head.bound(self._normed, self._logits)

    def _mixers(self) -> list[Callable[[], None]]:
        """The attention or convolution of each layer."""
        weights, cache = self._weights, self._cache
        mixers: list[Callable[[], None]] = []
        kinds = [layer.mixer for layer in weights.layers]
        attentions = [kind for kind in kinds if isinstance(kind, AttentionWeights)]
        convolutions = [kind for kind in kinds if isinstance(kind, ConvWeights)]
        self._attention = DecodeAttention(
            attentions, weights.config, cache, self._x, self._normed, self._rotation
        )
        convolution = DecodeConv(convolutions, weights.config, cache, self._x, self._normed)
        for kind in kinds:
            if isinstance(kind, AttentionWeights):
                mixers.append(partial(self._attention, attentions.index(kind)))
            else:
                mixers.append(partial(convolution, convolutions.index(kind)))
        return mixers

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits [B, V] of the token after tokens [B]; overwritten by the next call.

        The cache must have a free slot.
        """
        cache = self._cache
        assert cache.end < cache.capacity, "the cache is full"
        torch.index_select(self._weights.embedding, 0, tokens, out=self._x)
        torch.index_select(self._weights.rotations, 0, self._positions, out=self._rotation)
        self._attention.open_slot()
        for mix, gate_up, down in self._layers:
            self._normalize()
            mix()
            self._normalize()
            gate_up()
            torch.nn.functional.silu(self._gate, inplace=True)
            self._gate.mul_(self._up)
            down()
        self._normalize()
        self._head()
        self._positions.add_(1)
        cache.end += 1
        return self._logits

    def _normalize(self) -> None:
        """x / sqrt(|x|^2 + D eps): RMSNorm without the factors that are in the next matrix."""
        torch.linalg.vector_norm(self._x, 2, -1, True, out=self._norm)
        torch.hypot(self._norm, self._eps, out=self._norm)
        torch.div(self._x, self._norm, out=self._normed)
