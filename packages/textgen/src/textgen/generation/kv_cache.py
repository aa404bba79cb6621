"""What layers keep of the tokens already read, for a batch of rows of different lengths: keys and
values where they attend, the inputs of the convolution where they convolve.

Rows end at a common slot, so a new token is written at one place for all of them; what stands
before a shorter row's first token is masked. Rotations use each row's own positions, hence what a
row computes does not depend on the rows beside it.

Reading prompts into a cache: one forward pass for many windows, padding included.
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


class RowContent(NamedTuple):
    """What a cache holds of one row."""

    keys: Tensor
    """[attention layers, num_kv_heads, length, head_dim], rotated and in `pair_order`."""
    values: Tensor
    """The same shape."""
    inputs: Tensor
    """[convolution layers, length, embed_dim]."""


class KVCache:
    """Preallocated, float32.

    Args:
        lengths: tokens that each row will hold once `fill` has been called for it.
        capacity: slots; at least the longest length.

    Attributes:
        keys, values: [attention layers, B, num_kv_heads, capacity, head_dim]. Keys are rotated and
            in `pair_order`.
        inputs: [convolution layers, B, conv_kernel - 1 + capacity, embed_dim]: slot s is at
            conv_kernel - 1 + s, and zero where a row has no token, as a convolution wants it.
        mask: [B x num_kv_heads, 1, capacity], 0 where a row has a token and -inf elsewhere.
        end: slots in use; the next token goes to slot `end`.
    """

    def __init__(
        self, config: ModelConfig, lengths: Sequence[int], capacity: int, device: torch.device
    ) -> None:
        heads = (config.num_attention_layers, len(lengths), config.num_kv_heads)
        # Zeros, not garbage: a masked slot has weight 0, and 0 x NaN would be NaN.
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
        """Tokens held by each row."""
        return [self.end - start for start in self._starts]

    def fill(self, row: int, content: RowContent) -> None:
        """Set what a row holds; its length is the row's."""
        own = slice(self._starts[row], self.end)
        self.keys[:, row, :, own] = content.keys
        self.values[:, row, :, own] = content.values
        self.inputs[:, row, self._before :][:, own] = content.inputs

    def row(self, row: int) -> RowContent:
        """What `fill` takes, of one row."""
        own = slice(self._starts[row], self.end)
        inputs = self.inputs[:, row, self._before :][:, own]
        return RowContent(self.keys[:, row, :, own], self.values[:, row, :, own], inputs)

    def window(self, layer: int) -> Tensor:
        """What a convolution reads for the token at slot `end`: [B, conv_kernel, embed_dim]; its
        own input goes to the last place."""
        return self.inputs[layer, :, self.end : self.end + self._before + 1]


def pair_order(head_dim: int) -> Tensor:
    """The order 0, h/2, 1, h/2 + 1, ... in which the two dimensions that a rotation mixes are
    neighbours, as one complex number. Queries and keys in one order have the same products."""
    return torch.arange(head_dim).view(2, -1).t().reshape(-1)


PREFILL_TOKENS = 16_384
"""Tokens read at once, padding included: bounds the memory of a prefill."""


class _Collector:
    """A cache for the model's forward pass that only keeps what it is given."""

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
    """Read token windows (each once, however often it is listed) from position 0 on.

    Returns:
        For each window what `KVCache.fill` takes.
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
    # Padding on the right is never seen: every layer is causal.
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
