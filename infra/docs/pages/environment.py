"""The environment variables of hvdcore, from the one module that names them."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

from hvdcore.runtime import environment


def variables() -> dict[str, str]:
    """Name to meaning."""
    tree = ast.parse(Path(environment.__file__).read_text(encoding="utf-8"))
    found = {}
    for statement, text in itertools.pairwise(tree.body):
        match statement, text:
            case (
                ast.Assign(value=ast.Constant(value=str(name))),
                ast.Expr(value=ast.Constant(value=str(meaning))),
            ) if name.startswith("HVDCORE_"):
                found[name] = " ".join(meaning.split())
    return found


def page() -> str:
    """A table."""
    rows = [f"| `{name}` | {text} |" for name, text in variables().items()]
    return "\n".join(["| variable | meaning |", "|---|---|", *rows])
