"""The short convolutions of a decode step."""

from __future__ import annotations

import torch
from torch import Tensor

from textgen.generation.decode_weights import ConvWeights
from textgen.generation.kv_cache import KVCache
from textgen.model.config import ModelConfig

__all__ = ["DecodeConv"]


class DecodeConv:
    """The convolution layers' part of a batch's decode step; they share their buffers.

    Args:
        x: [B, D], the residual stream, added to.
        normed: [B, D], what a layer reads.
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
        """Convolution number `index`, at the cache's next slot."""
        inputs, taps, output = self._products[index]
        inputs()
        window = self._cache.window(index)  # [B, K, D]
        torch.mul(self._in_gate, self._value, out=window[:, -1])
        torch.mul(window, taps, out=self._weighted)
        torch.sum(self._weighted, 1, out=self._mixed)
        self._mixed.mul_(self._out_gate)
        output()
