"""One decode step: the next logits of every row, from the last token and the cache.

The arithmetic is the model's, arranged so that little is called: on small models the time goes to
calls, not to multiplications. Norm weights and scales are folded into the matrices that follow
them, queries, keys and values are one product, a rotation is one complex product, and every buffer
and view is made once for a batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from textgen.decode_weights import DecodeWeights
from textgen.kv_cache import KVCache

__all__ = ["DecodeStep"]

CHUNK = 32
"""Attention reads the cache up to the next multiple of it, so that views last this many steps."""


class DecodeStep:
    """A batch's decode step, bound to its cache: call it with the rows' last tokens."""

    def __init__(self, weights: DecodeWeights, cache: KVCache) -> None:
        self._weights, self._cache = weights, cache
        config, device = weights.config, cache.keys.device
        batch, head_dim, group = cache.num_rows, config.head_dim, config.num_kv_heads
        heads, dim = config.num_heads, config.embed_dim

        def buffer(*shape: int) -> Tensor:
            return torch.empty(*shape, device=device)

        self._positions = torch.tensor(cache.lengths, device=device)
        self._rotation = buffer(batch, head_dim)
        self._rotation_complex = _complex(self._rotation)[:, None]  # [B, 1, Dh / 2]
        self._x, self._normed, self._norm = buffer(batch, dim), buffer(batch, dim), buffer(batch, 1)
        qkv = buffer(batch, heads + 2 * group, head_dim)
        self._qk, self._new_values = qkv[:, : heads + group], qkv[:, heads + group :]
        self._qk_norm = buffer(batch, heads + group, 1)
        turned = _complex(qkv)
        self._queries_in, self._keys_in = turned[:, :heads], turned[:, heads : heads + group]
        queries = buffer(batch, heads, head_dim)
        self._queries_out = _complex(queries)
        self._queries = queries.view(batch * group, heads // group, head_dim)
        attended = torch.empty_like(self._queries)
        self._attended = attended
        gate_up = buffer(batch, 2 * config.mlp_dim)
        self._gate, self._up = gate_up.chunk(2, dim=1)
        self._logits = buffer(batch, config.vocab_size)
        self._eps = torch.tensor(math.sqrt(config.norm_eps * dim), device=device)
        self._qk_eps = torch.tensor(math.sqrt(config.norm_eps * head_dim), device=device)
        self._products = [
            (
                layer.qk_norm,
                layer.qkv.bound(self._normed, qkv.view(batch, -1)),
                layer.output.bound(attended.view(batch, dim), self._x, add=True),
                layer.gate_up.bound(self._normed, gate_up),
                layer.down.bound(self._gate, self._x, add=True),
            )
            for layer in weights.layers
        ]
        self._head = weights.head.bound(self._normed, self._logits)
        self._views_end = -1

    def __call__(self, tokens: Tensor) -> Tensor:
        """Read tokens [B] and return the logits [B, V] of what follows them.

        The result is overwritten by the next call. The cache must have a free slot.
        """
        cache = self._cache
        assert cache.end < cache.capacity, "the cache is full"
        if cache.end >= self._views_end:
            self._make_views()
        torch.index_select(self._weights.embedding, 0, tokens, out=self._x)
        torch.index_select(self._weights.rotations, 0, self._positions, out=self._rotation)
        slot = cache.end - self._views_start
        self._open[slot].zero_()
        for products, views in zip(self._products, self._views, strict=True):
            qk_norm, qkv, output, gate_up, down = products
            self._normalise()
            qkv()
            if qk_norm is not None:
                self._normalise_heads(qk_norm)
            self._attend(views, slot)
            output()
            self._normalise()
            gate_up()
            torch.nn.functional.silu(self._gate, inplace=True)
            self._gate.mul_(self._up)
            down()
        self._normalise()
        self._head()
        self._positions.add_(1)
        cache.end += 1
        return self._logits

    def _normalise(self) -> None:
        """x / sqrt(|x|^2 + D eps): RMSNorm but for the factors in the matrix that follows."""
        torch.linalg.vector_norm(self._x, 2, -1, True, out=self._norm)
        torch.hypot(self._norm, self._eps, out=self._norm)
        torch.div(self._x, self._norm, out=self._normed)

    def _normalise_heads(self, weight: Tensor) -> None:
        torch.linalg.vector_norm(self._qk, 2, -1, True, out=self._qk_norm)
        torch.hypot(self._qk_norm, self._qk_eps, out=self._qk_norm)
        self._qk.div_(self._qk_norm).mul_(weight)

    def _attend(self, views: _LayerViews, slot: int) -> None:
        torch.mul(self._queries_in, self._rotation_complex, out=self._queries_out)
        torch.mul(self._keys_in, self._rotation_complex, out=views.key_slots[slot])
        views.value_slots[slot].copy_(self._new_values)
        torch.baddbmm(self._mask, self._queries, views.keys, out=self._scores)
        torch.softmax(self._scores, -1, out=self._shares)
        torch.bmm(self._shares, views.values, out=self._attended)

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
