"""The first module whose output, or gradient, is not finite is named, and its samples."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from textgen.model.config import preset
from textgen.model.transformer import Transformer
from textgen.training.diagnosis import diagnose, first_not_finite


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    config = preset("char").config(64, context_length=8, num_layers=2, tie_embeddings=False)
    return Transformer(config)


TOKENS = torch.arange(4 * 8).reshape(4, 8) % 50


def test_a_healthy_step_has_nothing_to_say(model: Transformer) -> None:
    assert first_not_finite(model, TOKENS, TOKENS) == ""
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_poisoned_weight(model: Transformer) -> None:
    """The first linear map that reads it, not those behind it."""
    name, module = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)][3]
    with torch.no_grad():
        module.weight[0, 0] = float("nan")
    assert first_not_finite(model, TOKENS, TOKENS) == f"the output of {name}"


def test_a_poisoned_gradient(model: Transformer) -> None:
    name, module = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)][3]

    def poison(module: Any, arguments: Any, output: torch.Tensor) -> None:
        output.register_hook(lambda gradient: gradient * float("nan"))

    module.register_forward_hook(poison)
    assert first_not_finite(model, TOKENS, TOKENS) == f"the gradient at the output of {name}"


def test_the_samples_of_the_micro_batch(model: Transformer) -> None:
    """Only the third sequence has the token whose embedding is poisoned."""
    tokens = TOKENS.clone()
    tokens[2, 3] = 60
    table = next(iter(model.tables()))
    with torch.no_grad():
        table.weight[60] = float("inf")
    how: Any = {"micro": 2, "temperature": 1.0, "autocast": nullcontext()}
    found = diagnose(model, tokens, TOKENS, [7, 5, 3, 1], **how)
    assert found.startswith("samples 3, 1 of the train split, first in the output of ")
    assert diagnose(model, tokens[:2], TOKENS[:2], [7, 5], **how) == ""
