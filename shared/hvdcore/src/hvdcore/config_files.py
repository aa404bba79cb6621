"""Owns reading a configuration file, TOML or JSON, into plain values."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError

__all__ = ["read_config_file"]

# The standard library has TOML since Python 3.11; tomli is the same code for 3.10.
_toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


def read_config_file(path: Path) -> dict[str, Any]:
    """Read `.json` as JSON and anything else as TOML; `-` in names becomes `_`.

    Raises:
        UserError: when the file cannot be read or parsed; names the file and the place in it.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
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
    return _underscored(_parse(path, text))


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        values = json.loads(text) if path.suffix == ".json" else _toml.loads(text)
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise UserError(f"config: {path}: not valid {kind}: {error}; mend that line") from None
    if not isinstance(values, dict):
        raise UserError(f'config: {path}: holds no fields; write {{"field": value}}')
    return values


def _underscored(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name.replace("-", "_"): _underscored(value) if isinstance(value, dict) else value
        for name, value in values.items()
    }
