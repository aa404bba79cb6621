"""Search spaces: which fields are searched, and where; checked against the configuration.

Imports no Optuna, so that a package can define its space and `--help` still answers at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from hvdcore.config import Config, leaves, load_config, read_config_file
from hvdcore.errors import Problems, UserError

__all__ = [
    "Categorical",
    "Dimension",
    "Float",
    "Int",
    "Space",
    "check_space",
    "read_space",
    "space_as_json",
]


@dataclass(frozen=True)
class Float:
    """A number from `low` to `high`, both included; `log` draws its logarithm evenly."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Int:
    """A whole number from `low` to `high`, both included, in steps; `log` needs a step of 1."""

    low: int
    high: int
    step: int = 1
    log: bool = False


@dataclass(frozen=True)
class Categorical:
    """One of several values that have no order."""

    choices: tuple[str | int | float | bool, ...]


Dimension = Float | Int | Categorical
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
    if isinstance(dimension, Categorical):
        yield from dimension.choices
        return
    if not dimension.low <= dimension.high:
        problems.add("space", f"{name}: low {dimension.low:g} is above high {dimension.high:g}")
    if dimension.log and dimension.low <= 0:
        problems.add("space", f"{name}: log needs a low above 0; got {dimension.low:g}")
    if isinstance(dimension, Int) and (
        dimension.step < 1 or (dimension.log > (dimension.step == 1))
    ):
        problems.add("space", f"{name}: step {dimension.step}; give 1 or more, and 1 with log")
    yield from (dimension.low, dimension.high)


def read_space(file: Path, model: type[Config]) -> dict[str, Dimension]:
    """Read a space from TOML: a table for each field, with `low` and `high` (and `log`, `step`),
    or with `choices`.

    Raises:
        UserError: the file cannot be read, or with every problem of its tables.
    """
    try:
        tables = read_config_file(file)
    except UserError as error:
        raise UserError(*(p.replace("config: ", "space: ", 1) for p in error.problems)) from None
    annotations = {path.split(".")[-1]: annotation for path, annotation in leaves(model)}
    annotations |= dict(leaves(model))
    problems = Problems()
    space: dict[str, Dimension] = {}
    for name, table in tables.items():
        whole = _holds_whole_numbers(annotations.get(name))
        try:
            space[name] = _dimension(table, whole=whole)
        except (TypeError, ValueError) as error:
            problems.add("space", f"{name} in {file}: {error}")
    problems.raise_if_any()
    return space


def _holds_whole_numbers(annotation: Any) -> bool:
    kinds = {annotation, *get_args(annotation)}
    return int in kinds and float not in kinds


def _dimension(table: Any, *, whole: bool) -> Dimension:
    known = {"low", "high", "log", "step", "choices"}
    if not isinstance(table, Mapping) or set(table) - known:
        raise ValueError("give a table with low and high (and log, step), or with choices")
    if "choices" in table:
        choices = table["choices"]
        if set(table) != {"choices"} or not isinstance(choices, list) or not choices:
            raise ValueError("choices is a list of one value or more, and stands alone")
        return Categorical(tuple(choices))
    if not {"low", "high"} <= set(table):
        raise ValueError("low or high is missing; give both, or choices")
    low, high, log = table["low"], table["high"], bool(table.get("log", False))
    if whole:
        return Int(_as(int, low), _as(int, high), _as(int, table.get("step", 1)), log)
    if "step" in table:
        raise ValueError("step is for whole numbers; leave it out")
    return Float(_as(float, low), _as(float, high), log)


def _as(kind: type, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise ValueError(f"got {value!r}; give a {'whole ' if kind is int else ''}number")
    return kind(value)
