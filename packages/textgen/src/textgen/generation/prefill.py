"""Reading prompts into a cache: one forward pass for many windows, padding included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from textgen.generation.kv_cache import RowContent, pair_order
from textgen.model.transformer import Transformer

__all__ = ["prefill"]

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
