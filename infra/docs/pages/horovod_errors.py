"""The errors that Horovod's Python modules raise with a text of their own."""

from __future__ import annotations

import ast
from pathlib import Path

from pages.messages import ROOT, _code, _text

FOLDER = ROOT / "infra/horovod/python/horovod"


def errors(folder: Path = FOLDER) -> dict[str, list[str]]:
    """Module to the texts of its errors, values in capitals."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        name = ".".join(("horovod", *path.relative_to(folder).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Raise(exc=ast.Call(func=kind, args=[first, *_])) if text := _text(first):
                    line = f"- {_code(text)} ({ast.unparse(kind)})"
                    found.setdefault(name.removesuffix(".__init__"), []).append(line)
    return found


def page() -> str:
    """A list for each module."""
    lines = []
    for module, texts in errors().items():
        lines += [f"### `{module}`", "", *dict.fromkeys(texts), ""]
    return "\n".join(lines)
