"""What the ranks of the network benchmark train."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from textgen.model.config import ModelConfig
from textgen.model.transformer import Transformer
from textgen.training.optimizer import OptimizerConfig

BATCH = {"large": (8, 128), "paced": (8, 128), "small": (96, 64)}
"""Sequences of a rank and their length."""
VOCAB_SIZE = {"large": 4096, "paced": 4096, "small": 128}
CLIP_NORM = 1.0
SETTINGS = OptimizerConfig.of("adamw")
PACED_SECONDS = 1.2
"""Of a paced model's forward and backward pass together."""


def new_model(name: str) -> nn.Module:
    """'large': 12.2 million parameters. 'small': 0.8 million. 'paced': the parameters of the large
    one, with sleeps in place of compute."""
    torch.manual_seed(0)
    layers, heads, dim, mlp = (4, 4, 128, 352) if name == "small" else (6, 6, 384, 1024)
    config = ModelConfig(
        vocab_size=VOCAB_SIZE[name], context_length=BATCH[name][1], num_layers=layers,
        num_heads=heads, num_kv_heads=heads, embed_dim=dim, mlp_dim=mlp,
    )  # fmt: skip
    model = Transformer(config)
    return Paced(model) if name == "paced" else model


class Paced(nn.Module):
    """Takes the time of a transformer's passes without computing, as if an accelerator did it.

    More hosts than the machine has cores then keep their pace, and only the network is measured.
    """

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = nn.Module()
        seconds = PACED_SECONDS / 3 / (len(model.model.layers) + 1)
        self.model.embed_tokens = PacedLayer(model.model.embed_tokens, 0.0)
        self.model.layers = nn.ModuleList(PacedLayer(m, seconds) for m in model.model.layers)
        self.head_seconds = seconds

    def loss(self, tokens: Tensor, targets: Tensor, reduction: str = "sum") -> Tensor:
        x = torch.zeros((), requires_grad=True)
        for layer in (self.model.embed_tokens, *self.model.layers):
            x = layer(x)
        loss: Tensor = Pace.apply(x, self.head_seconds)
        return loss * (1 if reduction == "mean" else targets.numel())


class PacedLayer(nn.Module):
    def __init__(self, like: nn.Module, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.weights = nn.ParameterList(p.detach().clone() for p in like.parameters())

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = Pace.apply(x, self.seconds, *self.weights)
        return output


class Pace(torch.autograd.Function):
    """Sleeps in both passes, twice as long in the backward pass; its gradients mean nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seconds: float, *weights: Tensor) -> Tensor:
        ctx.seconds = seconds
        ctx.save_for_backward(*weights)
        time.sleep(seconds)
        return x + 0

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        gradients = [torch.full_like(weight, 1e-4) for weight in ctx.saved_tensors]
        time.sleep(2 * ctx.seconds)
        return (upstream, None, *gradients)
