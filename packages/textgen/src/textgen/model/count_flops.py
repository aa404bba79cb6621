"""The arithmetic of a training step, counted while it runs: for models of other people's layers."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from textgen.model.cost import train_flops_per_token
from textgen.model.language_model import LanguageModel, device_of
from textgen.model.transformer import Transformer

__all__ = ["counted_flops_per_token", "train_flops"]


def train_flops(model: LanguageModel, length: int) -> int:
    """FLOPs of a training step for each token of sequences of `length`, forward and backward."""
    if isinstance(model, Transformer):
        return train_flops_per_token(model.config, length)
    return counted_flops_per_token(model, length)


def counted_flops_per_token(model: LanguageModel, length: int) -> int:
    """The same by PyTorch's counter of matrix products; gradients of frozen weights are left out.

    Two short sequences are enough: what a token costs grows evenly with the length, by the keys
    that it is compared with, all of them, as PaLM counts.
    """
    longer = min(16, length)
    shorter = longer // 2
    low, high = (_counted(model, n) / n for n in (shorter, longer))
    return round(low + (high - low) / (longer - shorter) * (length - shorter))


def _counted(model: LanguageModel, length: int) -> int:
    tokens = torch.zeros(1, length, dtype=torch.int64, device=device_of(model))
    trained = [p for p in model.parameters() if p.requires_grad]
    counter = FlopCounterMode(display=False)
    # Of the kernels for attention the counter knows the plain one on every device.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        torch.autograd.grad(model.loss(tokens, tokens), trained, allow_unused=True)
    return int(counter.get_total_flops())
