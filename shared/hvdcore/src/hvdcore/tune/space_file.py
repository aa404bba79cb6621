"""Owns reading a search space from a TOML file, with every problem at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from hvdcore.config import Config, leaves
from hvdcore.config_files import read_config_file
from hvdcore.errors import Problems, UserError
from hvdcore.tune.space import Choice, Dimension, Real, Whole

__all__ = ["read_space"]


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
        return Choice(tuple(choices))
    if not {"low", "high"} <= set(table):
        raise ValueError("low or high is missing; give both, or choices")
    low, high, log = table["low"], table["high"], bool(table.get("log", False))
    if whole:
        return Whole(_as(int, low), _as(int, high), _as(int, table.get("step", 1)), log)
    if "step" in table:
        raise ValueError("step is for whole numbers; leave it out")
    return Real(_as(float, low), _as(float, high), log)


def _as(kind: type, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise ValueError(f"got {value!r}; give a {'whole ' if kind is int else ''}number")
    return kind(value)
