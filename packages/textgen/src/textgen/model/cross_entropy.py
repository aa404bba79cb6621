"""Cross-entropy that keeps one array of the logits' size for the backward pass, not three."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from textgen.data.blocks import IGNORE

__all__ = ["summed_cross_entropy"]


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
