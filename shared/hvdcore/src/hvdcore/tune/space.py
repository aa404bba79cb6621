"""Owns search spaces: which fields are searched and where, checked against the configuration.

Imports no Optuna, so that a package can say what its space is and still answer `--help` at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hvdcore.config import Config, load_config
from hvdcore.errors import Problems, UserError

__all__ = ["Choice", "Dimension", "Real", "Space", "Whole", "check_space", "space_as_json"]


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`, both included; `log` draws its logarithm evenly."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, both included, in steps; `log` needs a step of 1."""

    low: int
    high: int
    step: int = 1
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """One of several values that have no order."""

    choices: tuple[str | int | float | bool, ...]


Dimension = Real | Whole | Choice
Space = Mapping[str, Dimension]
"""The field of the configuration to where it is searched."""


def space_as_json(space: Space) -> dict[str, dict[str, Any]]:
    """The space as plain values, by name in order; equal spaces give equal ones."""
    described = {name: asdict(space[name]) for name in sorted(space)}
    return {
        name: {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
        for name, values in described.items()
    }


def check_space(
    space: Space, model: type[Config], file: Path | None, flags: Mapping[str, Any]
) -> None:
    """Check each end and each choice of the space against the configuration's own bounds.

    Args:
        file, flags: of the configuration that all trials share.

    Raises:
        UserError: with every problem, each naming the field.
    """
    problems = Problems()
    if not space:
        problems.add("space", "nothing is left to search; leave a flag out, or give --space FILE")
    for name, dimension in space.items():
        for value in _probes(name, dimension, problems):
            with problems.catching(), _without_source(name):
                load_config(model, file, {**flags, name: value})
    problems.raise_if_any()


@contextmanager
def _without_source(name: str) -> Iterator[None]:
    """The value comes from the space, and from no flag."""
    flag = f" from --{name.split('.')[-1].replace('_', '-')}"
    try:
        yield
    except UserError as error:
        raise UserError(*(f"space: {p.replace(flag, '')}" for p in error.problems)) from None


def _probes(name: str, dimension: Dimension, problems: Problems) -> Iterator[Any]:
    if isinstance(dimension, Choice):
        yield from dimension.choices
        return
    if not dimension.low <= dimension.high:
        problems.add("space", f"{name}: low {dimension.low:g} is above high {dimension.high:g}")
    if dimension.log and dimension.low <= 0:
        problems.add("space", f"{name}: log needs a low above 0; got {dimension.low:g}")
    if isinstance(dimension, Whole) and (
        dimension.step < 1 or (dimension.log > (dimension.step == 1))
    ):
        problems.add("space", f"{name}: step {dimension.step}; give 1 or more, and 1 with log")
    yield from (dimension.low, dimension.high)
