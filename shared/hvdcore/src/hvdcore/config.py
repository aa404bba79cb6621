"""Configurations: frozen models, read from a TOML or JSON file and from flags.

All problems are reported at once, each with the field, where its value came from and the fix.
"""

from __future__ import annotations

import difflib
import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from hvdcore.errors import Problems, UserError, without_passwords

__all__ = [
    "Config",
    "Flag",
    "Given",
    "describe",
    "dump_json",
    "dump_toml",
    "load_config",
    "read_config_file",
]

# The standard library has TOML since Python 3.11; tomli is the same code for 3.10.
_toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


_MAX_BYTES = 10_000_000
_MAX_NUMBER = 2**63 - 1
"""The largest number that arrays, files and other programs take for a whole one."""


def read_config_file(path: Path) -> dict[str, Any]:
    """Read `.json` as JSON and anything else as TOML; `-` in names becomes `_`.

    Raises:
        UserError: when the file cannot be read or parsed; names the file and the place in it.
    """
    try:
        with path.open("rb") as file:  # /dev/zero has no end
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise UserError(f"config: {path}: more than 10 MB; give a TOML or JSON file of fields")
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"config: {path}: no such file; check the path") from None
    except IsADirectoryError:
        raise UserError(
            f"config: {path}: a directory; give a file, such as {path / 'config.json'}"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"config: {path}: not UTF-8 text; give a TOML or JSON file") from None
    except OSError as error:
        raise UserError(f"config: {path}: cannot read: {error.strerror}") from error
    try:
        return _underscored(_parse(path, text))
    except RecursionError:
        raise UserError(f"config: {path}: nested too deeply; give fields and values") from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        values = json.loads(text) if path.suffix == ".json" else _toml.loads(text)
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise UserError(f"config: {path}: not valid {kind}: {error}; fix that line") from None
    if not isinstance(values, dict):
        raise UserError(f'config: {path}: holds no fields; write {{"field": value}}')
    return values


def _underscored(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name.replace("-", "_"): _underscored(value) if isinstance(value, dict) else value
        for name, value in values.items()
    }


_FIXES = {
    "int_parsing": "give a whole number",
    "int_type": "give a whole number",
    "int_from_float": "give a whole number",
    "float_parsing": "give a number",
    "float_type": "give a number",
    "finite_number": "give a finite number",
    "bool_parsing": "give true or false",
    "bool_type": "give true or false",
    "string_type": "give text",
    "path_type": "give a path",
    "literal_error": "give {expected}",
    "enum": "give {expected}",
    "greater_than": "give a number above {gt}",
    "greater_than_equal": "give {ge} or more",
    "less_than": "give a number below {lt}",
    "less_than_equal": "give {le} or less",
    "multiple_of": "give a multiple of {multiple_of}",
    "string_too_short": "give at least {min_length} characters",
    "too_short": "give at least {min_length} values",
    "too_long": "give at most {max_length} values",
}


class Given:
    """Which values came from where, to name the source of a wrong one.

    Args:
        paths: the dotted path of every field there is.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = list(paths)
        self._sources: dict[str, str] = {}

    def resolve(self, name: str) -> str:
        """The dotted path of a flag's field: exact, or the only one that ends in the name."""
        wanted = name.replace("-", "_")
        ending = [path for path in self.paths if path.split(".")[-1] == wanted]
        return ending[0] if wanted not in self.paths and len(ending) == 1 else wanted

    def note_file(self, file: str, values: Mapping[str, Any], prefix: str = "") -> None:
        """Remember that these values stand in the file."""
        for name, value in values.items():
            self._sources[prefix + name] = f" in {file}"
            if isinstance(value, Mapping):
                self.note_file(file, value, f"{prefix}{name}.")

    def note_flag(self, path: str, value: Any) -> None:
        """Remember that a flag gave this field."""
        flag = path.split(".")[-1].replace("_", "-")
        self._sources[path] = f" from --{flag}"

    def source(self, path: str) -> str:
        """` in FILE`, ` from --flag`, or nothing for a default."""
        return self._sources.get(path, "")

    def did_you_mean(self, path: str) -> str:
        """A fix for a field that does not exist."""
        last_names = {known.split(".")[-1]: known for known in self.paths}
        close = difflib.get_close_matches(path, self.paths, n=1, cutoff=0.6)
        if not close:
            near = difflib.get_close_matches(path.split(".")[-1], list(last_names), n=1)
            close = [last_names[name] for name in near]
        return f"did you mean {close[0]}?" if close else f"fields are {', '.join(self.paths)}"


def describe(details: Mapping[str, Any], given: Given) -> tuple[str, str]:
    """(field, message) for one of pydantic's errors, in the user's terms."""
    kind = details["type"]
    path = _path(details["loc"], given)
    where = given.source(path)
    if kind == "extra_forbidden":
        return path, f"no such field{where}; {given.did_you_mean(path)}"
    if kind == "missing":
        flag = path.split(".")[-1].replace("_", "-")
        return path, f"missing; give --{flag}, or {path} in the --config file"
    if kind == "value_error" and not details["loc"]:
        # A check across fields: its own text names them.
        return _split_field(_own_text(details))
    return path, f"got {_shown(details['input'])}{where}; {_fix(kind, details)}"


def _path(location: Sequence[Any], given: Given) -> str:
    """The longest beginning of the location that is a field: below it are list items and the
    branches of unions, which mean nothing to the user."""
    dotted = ".".join(str(part) for part in location)
    known = [path for path in given.paths if dotted == path or dotted.startswith(path + ".")]
    return max(known, key=len) if known else dotted


def _fix(kind: str, details: Mapping[str, Any]) -> str:
    if kind in ("value_error", "assertion_error"):
        return _own_text(details)
    if kind in _FIXES:
        bounds = details.get("ctx", {})
        return _FIXES[kind].format(
            **{k: f"{v:g}" if isinstance(v, float) else v for k, v in bounds.items()}
        )
    return str(details["msg"])


def _own_text(details: Mapping[str, Any]) -> str:
    return re.sub(r"^(Value|Assertion) error, ", "", str(details["msg"]))


def _split_field(text: str) -> tuple[str, str]:
    field, colon, rest = text.partition(": ")
    return (field, rest) if colon and " " not in field else ("config", text)


def _shown(value: Any) -> str:
    text = without_passwords(repr(value))  # before it is cut
    return text if len(text) <= 80 else text[:77] + "..."


Model = TypeVar("Model", bound=BaseModel)


class Config(BaseModel):
    """What a package's configuration derives from: frozen, and unknown fields are errors.

    Fields may be such models themselves (groups); flags then name them by their own name, or
    dotted (`optimizer.learning_rate`) where two groups use the same.
    """

    # Groups of fields that are never validated alone are not built, so that `--help` stays quick.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @field_validator("*", mode="after")
    @classmethod
    def _is_no_giant(cls, value: Any) -> Any:
        if type(value) is int and abs(value) > _MAX_NUMBER:
            raise ValueError(f"give {_MAX_NUMBER} or less")
        return value


@dataclass(frozen=True)
class Flag:
    """How a field is shown as a command-line option, beside its type, default and docstring.

    Attributes:
        metavar: what stands for the value in `--help`; None takes the type, or the choices.
        choices: the values there are, where the type is no `Literal`; completed by the shell.
        panel: where `--help` lists it; None takes the `panel` of the class.
        alias: another spelling of the flag, shown before the field's own.

    Example:
        >>> class ModelFields(Config):
        ...     panel: ClassVar[str] = "Model"
        ...     init_from: Annotated[str | None, Flag(metavar="RUN|PATH|HUB_ID")] = None
        ...     '''Start from the weights of a run or of a pretrained model.'''
    """

    metavar: str | None = None
    choices: tuple[str, ...] = ()
    panel: str | None = None
    alias: str | None = None


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
        group = field_group(field.annotation)
        if group is None:
            yield prefix + name, field.annotation
        else:
            yield from leaves(group, f"{prefix}{name}.")


def field_group(annotation: Any) -> type[BaseModel] | None:
    """The model class of a field that is a group of fields, or None."""
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
