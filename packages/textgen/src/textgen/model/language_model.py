"""What training, evaluation and generation ask of a model, whoever wrote its layers.

Cross-entropy that keeps one array of the logits' size for the backward pass, not three.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from textgen.data.corpus import IGNORE

__all__ = [
    "LanguageModel",
    "Shape",
    "device_of",
    "rows_at_once",
    "summed_cross_entropy",
]


def summed_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """What `torch.nn.functional.cross_entropy(..., reduction="sum")` gives; targets of -100 count
    for nothing.

    Logits of a large vocabulary are the largest arrays of a step. PyTorch's function keeps their
    logarithms, and makes two more arrays of that size on the way back; here the gradient takes the
    place of the logarithms at once. So there is one backward pass, as without `retain_graph`.

    Args:
        logits: [N, V], float32.
        targets: [N], integers.
    """
    loss: Tensor = _SummedCrossEntropy.apply(logits, targets)
    return loss


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        known = targets != IGNORE
        rows = torch.where(known, targets, 0)[:, None]
        gradient = logits.log_softmax(-1)
        loss = -gradient.gather(1, rows)[:, 0].masked_fill(~known, 0.0).sum()
        if ctx.needs_input_grad[0]:
            gradient.exp_()
            gradient.scatter_add_(1, rows, gradient.new_full(rows.shape, -1.0))
            ctx.save_for_backward(gradient, known)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        gradient, known = ctx.saved_tensors
        return gradient.mul_((known * upstream)[:, None]), None


_LOGITS_AT_ONCE = 1 << 27
"""Logits that a forward pass may hold: half a GiB in float32, and its gradient as much."""


class Shape(Protocol):
    """The part of a model's configuration that others read."""

    @property
    def vocab_size(self) -> int:
        """Token ids run from 0 to vocab_size - 1."""
        ...

    @property
    def context_length(self) -> int:
        """The most tokens that the model can attend to."""
        ...


class LanguageModel(nn.Module):
    """A decoder-only model: `Transformer`, or `CausalLM` around one of transformers."""

    config: Shape

    @property
    def num_parameters(self) -> int:
        """Parameters, embeddings included, a tied matrix counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def num_trainable_parameters(self) -> int:
        """Parameters that training changes."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def tables(self) -> Iterable[nn.Module]:
        """The modules whose weight holds a vector for each token or position."""
        raise NotImplementedError

    @property
    def table_names(self) -> frozenset[str]:
        """Names of the tables' parameters: matrices in form, not linear maps inside the layers."""
        own = {id(p) for module in self.tables() for p in module.parameters(recurse=False)}
        return frozenset(name for name, p in self.named_parameters() if id(p) in own)

    def loss(
        self,
        tokens: Tensor,
        targets: Tensor,
        reduction: Literal["sum", "mean", "none"] = "sum",
        temperature: float = 1.0,
    ) -> Tensor:
        """Negative log-likelihood in nats of targets [B, T] given tokens [B, T].

        Targets of -100 count for nothing. 'none' gives [B * T]. Logits are divided by the
        temperature; only at 1 is the loss that of the model as it is.
        """
        logits = self(tokens).flatten(0, 1).float()
        if temperature != 1.0:
            logits = logits / temperature
        if reduction == "sum":
            return summed_cross_entropy(logits, targets.flatten())
        return F.cross_entropy(logits, targets.flatten(), reduction=reduction)


def rows_at_once(model: LanguageModel, length: int, wanted: int) -> int:
    """``wanted`` sequences of ``length`` tokens, or as many as have logits that fit in memory:
    64 x 1,024 x 50,257 of them would take 13 GB."""
    return max(1, min(wanted, _LOGITS_AT_ONCE // (length * model.config.vocab_size)))


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights are."""
    return next(model.parameters()).device
