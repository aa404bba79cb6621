"""The functions of Horovod's modules: arguments and the first sentence of each docstring.

Read from the source: JAX need not be installed for the table of `horovod.jax`.
"""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

Function = ast.FunctionDef | ast.ClassDef


def page(module: str) -> str:
    """A table of the public functions and classes of a module."""
    rows = [
        f"| `{name}` | {_arguments(node)} | {_sentence(node)} |"
        for name, node in sorted(public(module).items())
    ]
    return "\n".join(["| name | arguments | |", "|---|---|---|", *rows])


def public(module: str) -> dict[str, Function]:
    """What a module defines or imports from Horovod's other modules, without `_`."""
    found = {}
    tree = _tree(module)
    for node in tree.body:
        if isinstance(node, Function):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("horovod"):
            there = {n.name: n for n in _tree(str(node.module)).body if isinstance(n, Function)}
            for alias in node.names:
                if alias.name in there:
                    found[alias.asname or alias.name] = there[alias.name]
    listed = _listed(tree)
    return {
        name: node
        for name, node in found.items()
        if not name.startswith("_") and (not listed or name in listed)
    }


def _tree(module: str) -> ast.Module:
    spec = find_spec("horovod")
    base = Path(str(spec and spec.origin)).parent.joinpath(*module.split(".")[1:])
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def _listed(tree: ast.Module) -> set[str]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return {part.value for part in ast.walk(value) if isinstance(part, ast.Constant)}
    return set()


def _arguments(node: Function) -> str:
    if isinstance(node, ast.ClassDef):
        made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        if not made:
            return ""
        node = made[0]
    text = ast.unparse(node.args).removeprefix("self").removeprefix(", ").replace("|", "\\|")
    return f"`{text}`" if text else ""


def _sentence(node: Function) -> str:
    text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    first = text.split(". ")[0].rstrip(".").replace("``", "`")
    for mark in ("|", "<", "*", "["):
        first = first.replace(mark, "\\" + mark)
    return first
