"""Who may import what, read from every source file's syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRAMEWORKS = {"torch", "tensorflow", "keras", "transformers"}
ENGINE = "horovod"

# What a part of the repository may import of the frameworks, the engine and its siblings. The
# longest prefix of a module's dotted name decides.
ALLOWED: dict[str, set[str]] = {
    "hvdcore": set(),
    "hvdcore.torch": {"torch", ENGINE},
    "hvdcore.keras": {"tensorflow", "keras", ENGINE},
    "hvdcore.classifier.keras": {"tensorflow", "keras"},
    "hvdcore.testing": {"keras"},  # a classifier small enough to check by hand
    "hvdcore.launch.ray": {ENGINE},  # its launcher, which loads no framework
    "textgen": {"hvdcore", "torch", "transformers"},
    "image_cls": {"hvdcore", "tensorflow", "keras"},
    "news_cls": {"hvdcore", "tensorflow", "keras"},
}
GUARDED = FRAMEWORKS | {ENGINE} | {name for name in ALLOWED if "." not in name}


def source_roots() -> list[Path]:
    return sorted([*ROOT.glob("shared/*/src"), *ROOT.glob("packages/*/src")])


def modules() -> Iterator[tuple[str, str]]:
    """Dotted name and source of every module that is published."""
    for root in source_roots():
        for path in sorted(root.rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path.read_text(encoding="utf-8")


def imported(source: str) -> set[str]:
    """First names of all absolute imports, also inside functions and by `import_module`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
            names |= {a.value for a in node.args if _is_text(a)}
    return {name.split(".")[0] for name in names}


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def violations(module: str, source: str) -> set[str]:
    """Guarded names that a module imports and may not."""
    parts = module.split(".")
    prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    rule = next((prefix for prefix in prefixes if prefix in ALLOWED), None)
    assert rule is not None, f"{module}: say in ALLOWED what this package may import"
    return (imported(source) & GUARDED) - ALLOWED[rule] - {parts[0]}


def test_there_is_something_to_read() -> None:
    names = {name for name, _ in modules()}
    assert {"hvdcore", "hvdcore.torch", "hvdcore.keras", "textgen"} <= names


def test_nobody_imports_across_a_boundary() -> None:
    found = {name: sorted(violations(name, source)) for name, source in modules()}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("module", "source", "caught"),
    [
        ("hvdcore.launch.launch", "import torch", {"torch"}),
        ("hvdcore.doctor.doctor", "def f():\n    from horovod.torch import mpi_ops", {"horovod"}),
        ("hvdcore.torch.collectives", "import keras.layers as l", {"keras"}),
        ("hvdcore.keras.collectives", "import horovod.torch, torch", {"torch"}),
        ("hvdcore.sharding", "import textgen.data.corpus", {"textgen"}),
        ("textgen.training.train", "import horovod.torch as hvd", {"horovod"}),
        (
            "textgen.evaluation.report",
            "from news_cls.training.task import write_report",
            {"news_cls"},
        ),
        (
            "textgen.data",
            "import importlib\nimportlib.import_module('tensorflow.io')",
            {"tensorflow"},
        ),
        ("image_cls.train", "if False:\n    __import__('textgen')", {"textgen"}),
        ("hvdcore.torchlike", "import torch", {"torch"}),
        ("hvdcore.keras.optimizer", "import keras, tensorflow, horovod.tensorflow", set()),
        ("textgen.training.train", "import torch, hvdcore.torch, textgen.model.transformer", set()),
        ("hvdcore.cli", "from . import torch\nimport torchlike", set()),
    ],
)
def test_control_the_reader_catches_what_it_should(
    module: str, source: str, caught: set[str]
) -> None:
    assert violations(module, source) == caught


def test_control_an_unknown_package_must_be_declared() -> None:
    with pytest.raises(AssertionError, match="say in ALLOWED"):
        violations("new_cls.train", "import torch")
