"""Owns giving a command its options by groups: what several commands share is written once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

__all__ = ["OptionGroup", "takes"]

P = ParamSpec("P")
T = TypeVar("T")

OptionGroup = Mapping[str, Any]
"""Names of parameters to `Annotated[..., typer.Option(...)]`, which then is None when it was not
given, or to a pair of that and another default."""


def takes(*groups: OptionGroup) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a Typer command that ends in `**flags`: it gets the options of the groups there.

    The parameters that it names itself come first, then the groups in their order.

    Raises:
        ValueError: an option stands in two groups, or the command names it too.

    Example:
        >>> @app.command()
        ... @takes(options.RANKS, {"seed": (Seed, 0)})
        ... def evaluate(model: Model, **flags: Any) -> None: ...
    """

    def decorate(command: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(command, eval_str=True)
        named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        parameters = [*named, *(_parameter(*item) for group in groups for item in group.items())]
        names = [parameter.name for parameter in parameters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{command.__name__}: options given twice: {', '.join(twice)}")
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _parameter(name: str, option: Any) -> inspect.Parameter:
    annotation, default = option if isinstance(option, tuple) else (option, None)
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)
