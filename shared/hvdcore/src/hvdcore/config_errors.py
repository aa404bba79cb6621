"""Owns the words for what is wrong in a configuration: field, source, value, fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Given", "describe"]

_FIXES = {
    "int_parsing": "give a whole number",
    "int_type": "give a whole number",
    "int_from_float": "give a whole number",
    "float_parsing": "give a number",
    "float_type": "give a number",
    "finite_number": "give a finite number",
    "bool_parsing": "give true or false",
    "bool_type": "give true or false",
    "string_type": "give a text",
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
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
