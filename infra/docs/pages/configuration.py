"""The fields of a trainer's configuration: type, bounds, default, and what its flag says."""

from __future__ import annotations

import importlib
import typing
from typing import Any, get_args

from hvdcore.options import config_options


def page(package: str) -> str:
    """One table for each panel of `TrainConfig`."""
    config = importlib.import_module(f"{package}.config").TrainConfig
    options = config_options(config)
    panels: dict[str, list[str]] = {}
    for name, field in config.model_fields.items():
        option = get_args(options[name])[1] if name in options else None
        panel = getattr(option, "rich_help_panel", None) or "Other"
        text = (getattr(option, "help", "") or "").partition("  [default:")[0]
        cells = [f"`{name}`", _kind(field), f"`{_default(field)}`", _escape(text)]
        panels.setdefault(panel, []).append("| " + " | ".join(cells) + " |")
    lines = []
    for panel, rows in panels.items():
        lines += [f"### {panel}", "", "| field | type | default | meaning |", "|---|---|---|---|"]
        lines += [*rows, ""]
    return "\n".join(lines)


def _kind(field: Any) -> str:
    kinds = [kind for kind in _members(field.annotation) if kind is not type(None)]
    shown = ", ".join(f"`{_kind_name(kind)}`" for kind in kinds)
    bounds = [
        f"{sign} {_number(getattr(mark, name))}"
        for mark in field.metadata
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if getattr(mark, name, None) is not None
    ]
    return " ".join([shown, *bounds])


def _number(value: float) -> str:
    """2^63 where 9.22e+18 says nothing."""
    power = int(value).bit_length() - 1
    return f"2^{power}" if power > 20 and value == 2**power else f"{value:g}"


def _members(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        return [repr(value) for value in get_args(annotation)]
    return [
        part for each in get_args(annotation) for part in _members(each)
    ] or [annotation]  # fmt: skip


def _kind_name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind)).strip("'")


def _default(field: Any) -> str:
    default = field.default
    if default is None:
        return "none"
    return f"{default:g}" if isinstance(default, float) else str(default).lower()


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")
