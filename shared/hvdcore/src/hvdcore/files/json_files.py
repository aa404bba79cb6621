"""Strict JSON files: no NaN, and either complete or absent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.files.atomic import write_bytes_atomically

__all__ = ["json_for_terminal", "json_safe", "read_json_object", "write_json_atomically"]

_C1 = re.compile("[\x7f-\x9f]")


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: when the file is missing, is not JSON or holds no object.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise UserError(f"{path}: no regular file; put the run's own file there")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from error
    except RecursionError:
        raise UserError(f"{path}: nested too deeply to be ours; it may have been edited") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); it may have been edited") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a {type(value).__name__}, not a JSON object")
    return value


def write_json_atomically(path: Path, value: Any) -> None:
    """Write a JSON file atomically: indented, UTF-8, non-finite numbers as null.

    Raises:
        UserError: when the disk is full or cannot be written.
    """
    text = json.dumps(json_safe(value), indent=2, ensure_ascii=False, allow_nan=False)
    # Names that are no UTF-8 hold lone surrogates, which JSON can write as \\udcXX.
    write_bytes_atomically(path, text.encode("utf-8", "backslashreplace") + b"\n")


def json_for_terminal(value: Any, indent: int | None = None) -> str:
    """JSON as text that moves no cursor: the control characters that JSON leaves as they are (C1,
    which names of classes and files may hold) are written as \\u00XX."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _C1.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def json_safe(value: Any) -> Any:
    """A copy that strict JSON can hold: paths as strings, numpy numbers as Python's, tuples as
    lists, and NaN and infinities, for which JSON has no word, as null."""
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [json_safe(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    # numpy and torch scalars; asked for by method, so that neither is imported here.
    if hasattr(value, "item") and not isinstance(value, (str, int, float)):
        value = value.item()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
