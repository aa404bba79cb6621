"""The gated short convolution: mixes a token with the few before it, at the price of attention's
matrices and without its scores.

Beside attention it spares a small model from learning "the token before" by positions: the first
layers can read n-grams at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textgen.model.config import ModelConfig
from textgen.model.token_cache import TokenCache

__all__ = ["ShortConv", "causal_convolution"]


def causal_convolution(inputs: Tensor, taps: Tensor) -> Tensor:
    """Each channel's own weighted sum over the last K positions.

    Args:
        inputs: [B, K - 1 + T, D].
        taps: [D, 1, K] as `nn.Conv1d` keeps them; the last is the position's own.

    Returns:
        [B, T, D].
    """
    kernel = taps.shape[-1]
    length = inputs.shape[1] - kernel + 1
    weights = taps[:, 0].unbind(-1)
    # Sums of whole tensors: on processors a grouped conv1d is no quicker, and turns its inputs.
    mixed = inputs[:, :length] * weights[0]
    for shift in range(1, kernel):
        mixed = mixed + inputs[:, shift : shift + length] * weights[shift]
    return mixed


class ShortConv(nn.Module):
    """o(out_gate(x) * conv(in_gate(x) * value(x))), causal, one filter a channel (LFM2, Liquid AI
    2025, arXiv 2511.23404).

    LFM2 keeps the three matrices in one; apart, each is a linear map of its own to the optimizer.
    """

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.index = index
        dim = config.embed_dim
        self.in_gate_proj = nn.Linear(dim, dim, bias=False)
        self.out_gate_proj = nn.Linear(dim, dim, bias=False)
        self.value_proj = nn.Linear(dim, dim, bias=False)
        self.taps = nn.Parameter(torch.empty(dim, 1, config.conv_kernel))
        self.o_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, cache: TokenCache | None, start: int) -> Tensor:
        gated = self.in_gate_proj(x) * self.value_proj(x)  # [B, T, D]
        wanted = x.shape[1] + self.taps.shape[-1] - 1
        if cache is not None:
            gated = cache.extend(self.index, gated, start)[:, -wanted:]
        padded = F.pad(gated, (0, 0, wanted - gated.shape[1], 0))
        mixed = causal_convolution(padded, self.taps)
        output: Tensor = self.o_proj(self.out_gate_proj(x) * mixed)
        return output
