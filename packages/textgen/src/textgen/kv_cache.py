"""The keys and values of the tokens already read, for a batch of rows of different lengths.

Rows end at a common slot, so a new token is written at one place for all of them; what stands
before a shorter row's first token is masked. Rotations use each row's own positions, hence what a
row computes does not depend on the rows beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from textgen.architecture import ModelConfig
from textgen.model import Transformer

__all__ = ["KVCache", "pair_order", "prefill"]

PREFILL_TOKENS = 16_384
"""Tokens read at once, padding included: bounds the memory of a prefill."""


class KVCache:
    """Preallocated keys and values, float32.

    Args:
        lengths: tokens that each row will hold once `fill` has been called for it.
        capacity: slots; at least the longest length.

    Attributes:
        keys, values: [num_layers, B, num_kv_heads, capacity, head_dim]. Keys are rotated and in
            `pair_order`.
        mask: [B x num_kv_heads, 1, capacity], 0 where a row has a token and -inf elsewhere.
        end: slots in use; the next token goes to slot `end`.
    """

    def __init__(
        self, config: ModelConfig, lengths: Sequence[int], capacity: int, device: torch.device
    ) -> None:
        heads = (config.num_layers, len(lengths), config.num_kv_heads)
        # Zeros, not garbage: a masked slot has weight 0, and 0 x NaN would be NaN.
        self.keys = torch.zeros(*heads, capacity, config.head_dim, device=device)
        self.values = torch.zeros_like(self.keys)
        self.mask = torch.full((len(lengths) * config.num_kv_heads, 1, capacity), -math.inf)
        self.mask = self.mask.to(device)
        self.end = max(lengths)
        self._starts = [self.end - length for length in lengths]
        for row, start in enumerate(self._starts):
            own = slice(row * config.num_kv_heads, (row + 1) * config.num_kv_heads)
            self.mask[own, :, start : self.end] = 0.0

    @property
    def num_rows(self) -> int:
        return len(self._starts)

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    @property
    def lengths(self) -> list[int]:
        """Tokens held by each row."""
        return [self.end - start for start in self._starts]

    def fill(self, row: int, keys: Tensor, values: Tensor) -> None:
        """Set a row's keys and values, each [num_layers, num_kv_heads, length, head_dim]."""
        self.keys[:, row, :, self._starts[row] : self.end] = keys
        self.values[:, row, :, self._starts[row] : self.end] = values

    def row(self, row: int) -> tuple[Tensor, Tensor]:
        """What `fill` takes, of one row."""
        own = slice(self._starts[row], self.end)
        return self.keys[:, row, :, own], self.values[:, row, :, own]


def pair_order(head_dim: int) -> Tensor:
    """The order 0, h/2, 1, h/2 + 1, ... in which the two dimensions that a rotation mixes are
    neighbours, as one complex number. Queries and keys in one order have the same products."""
    return torch.arange(head_dim).view(2, -1).t().reshape(-1)


class _Collector:
    """A cache for the model's forward pass that only keeps what it is given."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def update(self, layer: int, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        assert layer == len(self.keys)
        assert start == 0
        self.keys.append(keys)
        self.values.append(values)
        return keys, values


def prefill(
    model: Transformer, windows: Sequence[tuple[int, ...]]
) -> dict[tuple[int, ...], tuple[Tensor, Tensor]]:
    """Read token windows (each once, however often it is listed) from position 0 on.

    Returns:
        For each window what `KVCache.fill` takes.
    """
    found: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
    waiting = sorted({window for window in windows if window}, key=len, reverse=True)
    while waiting:
        count = max(1, PREFILL_TOKENS // len(waiting[0]))
        found.update(_read(model, waiting[:count]))
        waiting = waiting[count:]
    shape = (model.config.num_layers, model.config.num_kv_heads, 0, model.config.head_dim)
    nothing = torch.empty(shape, device=model.model.cos.device)
    return {window: found.get(window, (nothing, nothing)) for window in windows}


def _read(
    model: Transformer, windows: list[tuple[int, ...]]
) -> dict[tuple[int, ...], tuple[Tensor, Tensor]]:
    length = len(windows[0])  # the longest
    # Padding on the right is never seen: attention is causal.
    padded = [[*window, *(0,) * (length - len(window))] for window in windows]
    device = model.model.cos.device
    collected = _Collector()
    model.model(torch.tensor(padded, device=device), collected, 0, None)
    order = pair_order(model.config.head_dim).to(device)
    keys = torch.stack(collected.keys).float()[..., order]  # [L, B, Hkv, T, Dh]
    values = torch.stack(collected.values).float()
    return {
        window: (keys[:, row, :, : len(window)], values[:, row, :, : len(window)])
        for row, window in enumerate(windows)
    }
