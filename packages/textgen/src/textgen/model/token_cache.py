"""What the model asks of a cache of the tokens it has read, while it generates."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

__all__ = ["TokenCache"]


class TokenCache(Protocol):
    """Layers that attend and layers that convolve are numbered apart, each from 0."""

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
