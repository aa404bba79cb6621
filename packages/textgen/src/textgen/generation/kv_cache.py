"""The cache of a batch: keys and values of attention layers, inputs of convolution layers.

All rows end at the same slot, so that a new token is written to one slot in all of them; slots
before the first token of a shorter row are masked. Each row is rotated by its own positions, so a
row does not depend on the others. Prompts are read into the cache by one forward pass of many
windows, with padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from textgen.model.config import ModelConfig
from textgen.model.transformer import Transformer

__all__ = [
    "KVCache",
    "RowContent",
    "pair_order",
    "prefill",
]

PREFILL_TOKENS = 16_384
"""Tokens per forward pass of a prefill, padding included: it limits the memory."""


class RowContent(NamedTuple):
    """The content of one row of a cache."""

    keys: Tensor
    """[attention layers, num_kv_heads, length, head_dim], rotated and in `pair_order`."""
    values: Tensor
    """The same shape."""
    inputs: Tensor
    """[convolution layers, length, embed_dim]."""


class KVCache:
    """A preallocated cache in float32.

    Args:
        lengths: tokens of each row after `fill`.
        capacity: slots; at least the longest length.

    Attributes:
        keys, values: [attention layers, B, num_kv_heads, capacity, head_dim]. Keys are rotated and
            in `pair_order`.
        inputs: [convolution layers, B, conv_kernel - 1 + capacity, embed_dim]: slot s is at
            conv_kernel - 1 + s, and zero where a row has no token, as padding of the convolution.
        mask: [B x num_kv_heads, 1, capacity], 0 where a row has a token and -inf elsewhere.
        end: slots in use; the next token goes to slot `end`.
    """

    def __init__(
        self, config: ModelConfig, lengths: Sequence[int], capacity: int, device: torch.device
    ) -> None:
        heads = (config.num_attention_layers, len(lengths), config.num_kv_heads)
        # Zeros, not uninitialized: a masked slot has weight 0, and 0 x NaN would be NaN.
        self.keys = torch.zeros(*heads, capacity, config.head_dim, device=device)
        self.values = torch.zeros_like(self.keys)
        self._before = config.conv_kernel - 1
        rows = (config.num_conv_layers, len(lengths))
        slots = self._before + capacity
        self.inputs = torch.zeros(*rows, slots, config.embed_dim, device=device)
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
        """Tokens of each row."""
        return [self.end - start for start in self._starts]

    def fill(self, row: int, content: RowContent) -> None:
        """Set the content of a row; it has the row's length."""
        own = slice(self._starts[row], self.end)
        self.keys[:, row, :, own] = content.keys
        self.values[:, row, :, own] = content.values
        self.inputs[:, row, self._before :][:, own] = content.inputs

    def row(self, row: int) -> RowContent:
        """The content of a row, as `fill` takes it."""
        own = slice(self._starts[row], self.end)
        inputs = self.inputs[:, row, self._before :][:, own]
        return RowContent(self.keys[:, row, :, own], self.values[:, row, :, own], inputs)

    def window(self, layer: int) -> Tensor:
        """The inputs [B, conv_kernel, embed_dim] of a convolution at slot `end`, the last one still
        to be written."""
        return self.inputs[layer, :, self.end : self.end + self._before + 1]


def pair_order(head_dim: int) -> Tensor:
    """The order 0, h/2, 1, h/2 + 1, ..., in which the two dimensions that a rotation mixes are
    neighbors, as one complex number. Scores do not depend on the order."""
    return torch.arange(head_dim).view(2, -1).t().reshape(-1)


class _Collector:
    """A `TokenCache` that collects what the forward pass stores."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.inputs: list[Tensor] = []

    def update(self, layer: int, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        assert layer == len(self.keys)
        assert start == 0
        self.keys.append(keys)
        self.values.append(values)
        return keys, values

    def extend(self, layer: int, inputs: Tensor, start: int) -> Tensor:
        assert layer == len(self.inputs)
        assert start == 0
        self.inputs.append(inputs)
        return inputs


def prefill(
    model: Transformer, windows: Sequence[tuple[int, ...]]
) -> dict[tuple[int, ...], RowContent]:
    """Read token windows from position 0 on; equal windows are read once.

    Returns:
        The content of each window, for `KVCache.fill`.
    """
    found: dict[tuple[int, ...], RowContent] = {}
    waiting = sorted({window for window in windows if window}, key=len, reverse=True)
    while waiting:
        count = max(1, PREFILL_TOKENS // len(waiting[0]))
        found.update(_read(model, waiting[:count]))
        waiting = waiting[count:]
    nothing = _nothing(model)
    return {window: found.get(window, nothing) for window in windows}


def _nothing(model: Transformer) -> RowContent:
    config, device = model.config, model.model.cos.device
    heads = (config.num_attention_layers, config.num_kv_heads, 0, config.head_dim)
    keys = torch.empty(heads, device=device)
    inputs = torch.empty(config.num_conv_layers, 0, config.embed_dim, device=device)
    return RowContent(keys, keys, inputs)


def _read(model: Transformer, windows: list[tuple[int, ...]]) -> dict[tuple[int, ...], RowContent]:
    length = len(windows[0])  # the longest
    # Padding on the right has no effect: every layer is causal.
    padded = [[*window, *(0,) * (length - len(window))] for window in windows]
    config, device = model.config, model.model.cos.device
    collected = _Collector()
    model.model(torch.tensor(padded, device=device), collected, 0, None)
    order = pair_order(config.head_dim).to(device)
    keys = torch.stack(collected.keys).float()[..., order]  # [L, B, Hkv, T, Dh]
    values = torch.stack(collected.values).float()
    inputs = torch.empty(0, len(windows), length, config.embed_dim, device=device)
    if collected.inputs:
        inputs = torch.stack(collected.inputs).float()
    contents = {}
    for row, window in enumerate(windows):
        own = slice(len(window))
        contents[window] = RowContent(
            keys[:, row, :, own], values[:, row, :, own], inputs[:, row, own]
        )
    return contents
