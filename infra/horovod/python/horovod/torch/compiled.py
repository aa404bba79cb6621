"""Keeps torch.compile out of Horovod's functions: a call breaks the graph and runs as it is.

`torch.compiler.disable` would do it too, but imports TorchDynamo, which takes two seconds.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import torch

REASON = "Horovod's operations are not compiled"


def keep_out(namespace: dict[str, Any]) -> None:
    """Has torch.compile skip all functions and methods that the module defines."""
    skip = getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None)
    skip = getattr(skip, "skip_code", None)
    for holder, name, function in _functions(namespace):
        if skip is None:
            _replace(holder, name, torch.compiler.disable(function))
        else:
            skip(function.__code__)
            function._torchdynamo_disable = True
            function._torchdynamo_disable_msg = REASON


def _functions(namespace: dict[str, Any]) -> Iterator[tuple[Any, str, FunctionType]]:
    module = namespace["__name__"]
    for name, value in list(namespace.items()):
        if getattr(value, "__module__", None) != module:
            continue
        if inspect.isfunction(value):
            yield namespace, name, value
        elif inspect.isclass(value):
            for attribute, member in list(vars(value).items()):
                if inspect.isfunction(member):
                    yield value, attribute, member


def _replace(holder: Any, name: str, function: Any) -> None:
    if isinstance(holder, dict):
        holder[name] = function
    else:
        setattr(holder, name, function)
