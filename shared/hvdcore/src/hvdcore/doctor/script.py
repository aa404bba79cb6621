"""`hvdcore doctor --script`: what of a script is written otherwise today. It is read, never run."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from hvdcore.doctor.changes import CHANGES, SESSION_OPTIMIZER, Change, Use
from hvdcore.errors import UserError

__all__ = ["changes_in", "run_script_doctor"]

_MAX_BYTES = 10_000_000


def run_script_doctor(path: Path, *, as_json: bool = False) -> int:
    """Print each line that is to be changed, why, and what to write. Returns 0.

    Raises:
        UserError: the file cannot be read, or is not Python.
    """
    found = changes_in(_read(path), str(path))
    if as_json:
        rows = [
            {"line": line, "before": c.before, "after": c.after, "why": c.why} for line, c in found
        ]
        print(json.dumps({"script": str(path), "changes": rows}, indent=2))
        return 0
    for line, change in found:
        print(f"{path}:{line}: {change.why}")
        print(f"  as in    {change.before}")
        print("  write    " + change.after.replace("\n", "\n           "))
    lines = len({line for line, _ in found})
    print(f"{path}: {lines} line{'' if lines == 1 else 's'} to change." if found else
          f"{path}: nothing that is known to be different today.")  # fmt: skip
    return 0


def changes_in(source: str, name: str = "script") -> list[tuple[int, Change]]:
    """Lines, from 1, and what is to be changed there, in the order of the script.

    Raises:
        UserError: the source is not Python.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        where = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        raise UserError(f"--script {name}: not Python 3{where}: {error.args[0]}") from error
    found = {(use.line, i) for use in _uses(tree) for i, c in enumerate(CHANGES) if c.finds(use)}
    return [(line, CHANGES[i]) for line, i in sorted(found)]


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:  # /dev/zero has no end
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise UserError(f"--script {path}: more than 10 MB; give a Python file")
        return content.decode("utf-8")
    except OSError as error:
        raise UserError(f"--script {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--script {path}: not UTF-8 text; give a Python file") from error


def _uses(tree: ast.Module) -> Iterator[Use]:
    imported = _imported(tree)
    imported |= dict.fromkeys(_session_optimizers(tree, imported), SESSION_OPTIMIZER)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Use(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Use(f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call):
            keywords = {k.arg: k.value for k in node.keywords if k.arg is not None}
            yield Use(_dotted(node.func, imported), node.lineno, True, node.args, keywords)
        elif isinstance(node, ast.Attribute) and id(node) not in called:
            yield Use(_dotted(node, imported), node.lineno)


def _imported(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    names[alias.asname] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _session_optimizers(tree: ast.Module, imported: dict[str, str]) -> set[str]:
    """Names that stand for optimizers of `tf.train`, wrapped or not, and for nothing else."""
    kinds: dict[str, set[bool]] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        made_by = _dotted(node.value.func, imported)
        if made_by.startswith("horovod.") and made_by.endswith("DistributedOptimizer"):
            continue  # as what it wraps
        of_train = made_by.startswith("tensorflow.") and ".train." in made_by
        for target in node.targets:
            if isinstance(target, ast.Name):
                kinds.setdefault(target.id, set()).add(of_train and made_by.endswith("Optimizer"))
    return {name for name, found in kinds.items() if found == {True}}


def _dotted(node: ast.expr, imported: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, imported)}.{node.attr}"
    if isinstance(node, ast.Name):
        return imported.get(node.id, node.id)
    return ""  # the result of a call, an element of a list: not known
