"""Where a step stopped being finite: the micro-batch, its samples, and the first module.

The forward and backward pass of this rank is made once more, with hooks. It calls no collective,
so ranks may make it alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hvdcore.run.finite import shown_samples
from textgen.model.compiled import eager_layers
from textgen.model.language_model import LanguageModel

__all__ = ["diagnose", "first_not_finite"]


def diagnose(
    model: LanguageModel,
    tokens: Tensor,
    targets: Tensor,
    indices: Sequence[int],
    *,
    micro: int,
    temperature: float,
    autocast: Any,
) -> str:
    """What is not finite in this rank's share of a step, as part of a sentence; else nothing.

    Args:
        model: with the weights that the step began with.
        tokens, targets: [sequences of this rank, T].
        indices: of its sequences in the train split.
        micro: sequences in a micro-batch.
        autocast: a context for the forward pass.
    """
    for start in range(0, len(tokens), micro):
        rows = slice(start, start + micro)
        with autocast:
            found = first_not_finite(model, tokens[rows], targets[rows], temperature)
        if found:
            return f"{shown_samples(indices[rows])}, first in {found}"
    return ""


def first_not_finite(
    model: LanguageModel, tokens: Tensor, targets: Tensor, temperature: float = 1.0
) -> str:
    """The first output, in the order of the forward pass, or else the first gradient, in that of
    the backward pass, that is not finite: `the output of model.layers.0.mlp`; nothing if all are.

    Parameters and their gradients stay as they are.
    """
    outputs: list[str] = []
    gradients: list[str] = []
    with eager_layers(model), _watching(model, outputs, gradients), torch.enable_grad():
        loss = model.loss(tokens, targets, temperature=temperature)
        if outputs:
            return f"the output of {outputs[0]}"
        if not torch.isfinite(loss):
            return "the loss itself"
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        # Not backward(): that would add to gradients, and send them.
        found = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    if gradients:
        return f"the gradient at the output of {gradients[0]}"
    for (name, _), gradient in zip(reversed(named), reversed(found), strict=True):
        if gradient is not None and not _is_finite(gradient):
            return f"the gradient of {name}"
    return ""


@contextmanager
def _watching(model: nn.Module, outputs: list[str], gradients: list[str]) -> Iterator[None]:
    """Note the names of modules whose outputs, or the gradients at them, are not finite."""

    def watch(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or not output.is_floating_point():
                return
            if not _is_finite(output):
                outputs.append(name or "the model")
            elif output.requires_grad:
                output.register_hook(note(name))

        return hook

    def note(name: str) -> Any:
        def hook(gradient: Tensor) -> None:
            if not _is_finite(gradient):
                gradients.append(name or "the model")

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
