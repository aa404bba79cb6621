"""``--compile``: the layers of a model, compiled by `torch.compile` for training.

Layers are compiled one by one and not the whole model: they are alike, so one is compiled and all
use it, and between two of them gradients can be sent and weights can arrive. Each shape of a batch
is compiled by itself (`dynamic=False`), so that a resumed run computes what the first one did.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from hvdcore.errors import UserError
from hvdcore.files.cache import default_cache_dir
from hvdcore.torch import broadcast_object, gather_objects
from textgen.model.language_model import LanguageModel

__all__ = ["check_compiler", "compile_layers", "eager_layers"]

CACHE = "TORCHINDUCTOR_CACHE_DIR"


def check_compiler(device: torch.device) -> None:
    """Compile a small function, on every rank.

    Raises:
        UserError: on all ranks, that failed on one.
    """
    # By default it is a folder of everybody's /tmp, from which code is loaded.
    os.environ.setdefault(CACHE, str(default_cache_dir("textgen") / "compiled"))
    found = gather_objects(_failure(device))  # on rank 0
    failure = broadcast_object(next((failure for failure in found if failure), ""))
    if failure:
        raise UserError(
            f"compile: torch.compile does not work here: {failure}; install a C++ compiler "
            "(g++), or leave --compile out"
        )


def _failure(device: torch.device) -> str:
    """The first line of what is raised; nothing where all is well."""
    numbers = torch.ones(2, device=device)
    try:
        torch.compile(_twice, dynamic=False)(numbers)
    except Exception as error:  # whatever a compiler's absence, a full disk or Triton raises
        return f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]
    return ""


def _twice(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.sin() * 2


def compile_layers(model: LanguageModel) -> list[nn.Module]:
    """Compile the forward and backward passes of the model's layers, where gradients are computed.

    Returns:
        The layers, for `ShardedOptimizer(compiled=...)`.

    Raises:
        UserError: the model has none to be found.
    """
    layers = list(model.layers())
    if not layers:
        raise UserError("compile: this model has no list of layers; leave --compile out")
    for layer in layers:
        layer.forward = _training_alone(layer.forward)  # type: ignore[method-assign]
    return layers


def _training_alone(eager: Callable[..., Any]) -> Callable[..., Any]:
    """Evaluation and generation have shapes of every length: they are not compiled."""
    compiled = torch.compile(eager, dynamic=False)

    def forward(*arguments: Any, **named: Any) -> Any:
        run = compiled if torch.is_grad_enabled() else eager
        return run(*arguments, **named)

    return forward


@contextmanager
def eager_layers(model: LanguageModel) -> Iterator[None]:
    """Not compiled meanwhile: hooks inside of compiled layers would not be called."""
    held = [(layer, layer.__dict__.pop("forward", None)) for layer in model.layers()]
    try:
        yield
    finally:
        for layer, forward in held:
            if forward is not None:
                layer.forward = forward  # type: ignore[method-assign]
