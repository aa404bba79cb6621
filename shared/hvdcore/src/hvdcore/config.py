"""Owns configurations: frozen, complete, read from a file and flags, with every problem at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from hvdcore.config_errors import Given, describe
from hvdcore.config_files import read_config_file
from hvdcore.errors import Problems

__all__ = ["Config", "dump_json", "dump_toml", "load_config"]

Model = TypeVar("Model", bound=BaseModel)


class Config(BaseModel):
    """What a package's configuration derives from: frozen, and unknown fields are errors.

    Fields may be such models themselves (groups); flags then name them by their own name, or
    dotted (`optimizer.learning_rate`) where two groups use the same.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


def load_config(
    model: type[Model], file: Path | str | None, flags: Mapping[str, Any] | None = None
) -> Model:
    """Read a configuration: defaults, then the file over them, then the flags over both.

    Args:
        model: the model class.
        file: TOML or JSON (a run's config.json), or None. `-` in names counts as `_`.
        flags: field name to value; None means that the flag was not given.

    Raises:
        UserError: with every problem of the file and the flags, each naming the field, where the
            value came from, the value and the fix.
    """
    problems = Problems()
    merged: dict[str, Any] = {}
    given = Given(sorted(path for path, _ in leaves(model)))
    with problems.catching():
        if file is not None:
            merged = read_config_file(Path(file))
            given.note_file(str(file), merged)
    for name, value in (flags or {}).items():
        if value is not None:
            path = given.resolve(name)
            given.note_flag(path, value)
            _put(merged, path, value)
    try:
        config = model.model_validate(merged)
    except ValidationError as error:
        unread = bool(problems)
        for details in error.errors(include_url=False):
            # A field may be missing only because the file could not be read.
            if not (unread and details["type"] == "missing"):
                problems.add(*describe(dict(details), given))
        problems.raise_if_any()
        raise
    problems.raise_if_any()
    return config


def dump_json(config: BaseModel) -> str:
    """The resolved configuration as JSON; `load_config` reads it back to an equal one."""
    return json.dumps(config.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def dump_toml(config: BaseModel) -> str:
    """The configuration as TOML. TOML has no null: fields that are None are left out.

    Raises:
        ValueError: when a field is None against its default, which TOML cannot say.
    """
    values = _without_none(config.model_dump(mode="json"))
    if type(config).model_validate(values) != config:
        raise ValueError("a field is None where its default is not; use dump_json")
    return tomli_w.dumps(values)


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, annotation) of every field that is not itself a group."""
    for name, field in model.model_fields.items():
        group = _group(field.annotation)
        if group is None:
            yield prefix + name, field.annotation
        else:
            yield from leaves(group, f"{prefix}{name}.")


def _group(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    *groups, name = path.split(".")
    for group in groups:
        inner = values.get(group)
        values[group] = values = dict(inner) if isinstance(inner, Mapping) else {}
    values[name] = value


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if value is not None
    }
