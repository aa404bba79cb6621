"""The interface that training, evaluation and generation use, and the loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from textgen.model.config import IGNORE_INDEX

__all__ = [
    "LanguageModel",
    "Shape",
    "device_of",
    "rows_at_once",
    "summed_cross_entropy",
]


_MAX_LOGITS = 1 << 27
"""Logits of one forward pass: half a GiB in float32, and the same again for the gradient."""


def summed_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """`torch.nn.functional.cross_entropy(..., reduction="sum")` with a third of the memory; targets
    of -100 are ignored.

    The logits of a large vocabulary are the largest arrays of a step. PyTorch's function keeps
    their log-softmax and allocates two more arrays of that size in the backward pass; here the
    gradient overwrites the log-softmax in the forward pass. So there can be one backward pass.

    Args:
        logits: [N, V], float32.
        targets: [N], integers.
    """
    loss: Tensor = _SummedCrossEntropy.apply(logits, targets)
    return loss


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        known = targets != IGNORE_INDEX
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


class Shape(Protocol):
    """The fields of a model's configuration that others use."""

    @property
    def vocab_size(self) -> int:
        """Token ids run from 0 to vocab_size - 1."""
        ...

    @property
    def context_length(self) -> int:
        """Longest sequence that the model can attend to, in tokens."""
        ...


class LanguageModel(nn.Module):
    """A decoder-only model: a `Transformer`, or a `CausalLM` that wraps a model of transformers."""

    config: Shape

    @property
    def num_parameters(self) -> int:
        """Number of parameters, embeddings included, a tied matrix counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def num_trainable_parameters(self) -> int:
        """Number of parameters that are not frozen."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def tables(self) -> Iterable[nn.Module]:
        """The modules whose weight holds a vector for each token or position."""
        raise NotImplementedError

    @property
    def table_names(self) -> frozenset[str]:
        """Names of the parameters of the tables: 2-D, but no linear maps inside the layers."""
        own = {id(p) for module in self.tables() for p in module.parameters(recurse=False)}
        return frozenset(name for name, p in self.named_parameters() if id(p) in own)

    def layers(self) -> Iterable[nn.Module]:
        """The layers between the embedding and the output projection, which are alike."""
        raise NotImplementedError

    def loss(
        self,
        tokens: Tensor,
        targets: Tensor,
        reduction: Literal["sum", "mean", "none"] = "sum",
        temperature: float = 1.0,
    ) -> Tensor:
        """Negative log-likelihood in nats of targets [B, T] given tokens [B, T].

        Targets of -100 are ignored. 'none' gives [B * T]. Logits are divided by the temperature;
        only at 1 is it the loss of the model itself.
        """
        logits = self(tokens).flatten(0, 1).float()
        if temperature != 1.0:
            logits = logits / temperature
        if reduction == "sum":
            return summed_cross_entropy(logits, targets.flatten())
        return F.cross_entropy(logits, targets.flatten(), reduction=reduction)


def rows_at_once(model: LanguageModel, length: int, wanted: int) -> int:
    """``wanted`` sequences of ``length`` tokens, or fewer where their logits would take too much
    memory: 64 x 1,024 x 50,257 of them are 13 GB."""
    return max(1, min(wanted, _MAX_LOGITS // (length * model.config.vocab_size)))


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's weights."""
    return next(model.parameters()).device
