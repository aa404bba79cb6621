"""Keeps torch.compile out of Horovod's functions: a call breaks the graph and runs as it is.

`torch.compiler.disable` would do it too, but imports TorchDynamo, which takes two seconds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import torch

REASON = "Horovod's operations are not compiled"


def keep_out(namespace: dict[str, Any]) -> None:
    """Has torch.compile skip all functions and methods that the module defines."""
    skip = _skipper()
    for holder, name, function in _functions(namespace):
        if skip is None:
            _replace(holder, name, torch.compiler.disable(function))
        else:
            skip(function.__code__)
            function._torchdynamo_disable = True  # where it would be inlined
            function._torchdynamo_disable_msg = REASON


def _skipper() -> Callable[[CodeType], None] | None:
    """What tells TorchDynamo's C part to run a code object, and all that it calls, as it is."""
    try:
        from torch._C._dynamo import eval_frame
    except ImportError:
        return None
    if hasattr(eval_frame, "skip_code"):  # up to PyTorch 2.6
        return eval_frame.skip_code
    try:
        action = eval_frame._FrameAction.SKIP
        strategy = eval_frame._FrameExecStrategy(action, action)
        set_strategy = eval_frame.set_code_exec_strategy
    except (AttributeError, TypeError):
        return None
    return lambda code: set_strategy(code, strategy)


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
