"""One decode step: the next logits of every row, from the last token and the cache.

The arithmetic is the model's, arranged so that little is called: on small models the time goes to
calls, not to multiplications. Norm weights and scales are folded into the matrices that follow
them, queries, keys and values are one product, a rotation is one complex product, and every buffer
and view is made once for a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from textgen.generation.decode_attention import DecodeAttention
from textgen.generation.decode_conv import DecodeConv
from textgen.generation.decode_weights import AttentionWeights, ConvWeights, DecodeWeights
from textgen.generation.kv_cache import KVCache

__all__ = ["DecodeStep"]


class DecodeStep:
    """A batch's decode step, bound to its cache: call it with the rows' last tokens."""

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
        """Each layer's attention or convolution."""
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
        """Read tokens [B] and return the logits [B, V] of what follows them.

        The result is overwritten by the next call. The cache must have a free slot.
        """
        cache = self._cache
        assert cache.end < cache.capacity, "the cache is full"
        torch.index_select(self._weights.embedding, 0, tokens, out=self._x)
        torch.index_select(self._weights.rotations, 0, self._positions, out=self._rotation)
        self._attention.open_slot()
        for mix, gate_up, down in self._layers:
            self._normalise()
            mix()
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
