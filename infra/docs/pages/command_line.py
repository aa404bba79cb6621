"""The reference of a command line, from Typer's own description of it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import typer.main

MODULES = {
    "textgen": "textgen.cli",
    "image-cls": "image_cls.cli",
    "news-cls": "news_cls.cli",
    "hvdcore": "hvdcore.cli",
}


def page(program: str) -> str:
    """One section a command: its help, its usage, and its options by panel."""
    group: Any = typer.main.get_command(importlib.import_module(MODULES[program]).app)
    lines = [*_paragraphs(group.help), ""]
    for name, command in group.commands.items():
        if not command.hidden:
            lines += _command(program, name, command)
    return "\n".join(lines)


def _command(program: str, name: str, command: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=f"{program} {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (f"## {program} {name}", "", *_paragraphs(command.help), "")
    yield from ("```text", f"{program} {name} {usage}", "```", "")
    panels: dict[str, list[Any]] = {}
    for parameter in command.params:
        if record := parameter.get_help_record(context):
            panels.setdefault(_panel(parameter), []).append(record)
    for panel, records in panels.items():
        yield from ("", f"**{panel}**", "", "| option | meaning |", "|---|---|")
        for flags, text in records:
            yield f"| `{_cell(flags)}` | {_escape(_cell(text))} |"
    yield ""


def _panel(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    return getattr(parameter, "rich_help_panel", None) or "Options"


def _paragraphs(text: str | None) -> list[str]:
    folded = [" ".join(part.split()) for part in (text or "").replace("\b", "").split("\n\n")]
    return [_escape(line) for part in folded for line in (part, "")]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _escape(text: str) -> str:
    for mark in ("<", "*", "[", "]", "_", "$"):
        text = text.replace(mark, "\\" + mark)
    return text
