"""Models of `transformers` whose linear layers multiply by weights of 8 bits, for generation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hvdcore.errors import UserError
from textgen.generation.products import MIN_WEIGHTS, Int8Product
from textgen.model.causal_lm import CausalLM
from textgen.model.causality import continues_cache
from textgen.model.language_model import device_of

__all__ = ["Int8Linear", "round_linear_layers"]


class Int8Linear(nn.Module):
    """A linear layer whose weight [O, I] is rounded to 8 bits; see `Int8Product`. Not trainable."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self._product = Int8Product(weight)
        self._num_outputs = len(weight)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., I] -> [..., O]."""
        rows = x.reshape(-1, x.shape[-1])
        out = rows.new_empty(len(rows), self._num_outputs)
        self._product.bound(rows, out)()
        if self.bias is not None:
            out += self.bias
        return out.view(*x.shape[:-1], self._num_outputs)


@torch.inference_mode()
def round_linear_layers(model: CausalLM) -> None:
    """Replace the large linear layers of a model by `Int8Linear`, in place.

    Raises:
        UserError: an architecture that has none, or that needs more of a layer than its output.
    """
    continues_cache(model)  # rounding would hide it
    found = [
        (parent, name, child)
        for parent in list(model.hf.modules())
        for name, child in parent.named_children()
        if _is_linear(child) and child.weight.numel() >= MIN_WEIGHTS
    ]
    for parent, name, child in found:
        # The weight of GPT-2's layers, which are called Conv1D, is [I, O].
        weight = child.weight if isinstance(child, nn.Linear) else child.weight.t()
        setattr(parent, name, Int8Linear(weight, child.bias))
    try:
        if not found:
            raise AttributeError("no large linear layer")
        model(torch.zeros(1, 2, dtype=torch.long, device=device_of(model)))
    except Exception as error:  # each architecture has its own
        raise UserError(
            f"weight_dtype: {model.config.model_type} cannot use weights of 8 bits ({error}); "
            "leave out --weight-dtype int8"
        ) from error


def _is_linear(module: Any) -> bool:
    from transformers.pytorch_utils import Conv1D

    return type(module) in (nn.Linear, Conv1D)
