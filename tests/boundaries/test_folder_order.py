"""The layout of the source folders: who may import whom, no cycles, and where settings are read.

Imports count wherever they stand: at the top of a file, inside a function, or under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Per package, its folders and files from the bottom up. Each may import its own files and whatever
# stands before it in the list; the longest matching name decides where a module belongs.
ORDER: dict[str, list[str]] = {
    "hvdcore": [
        "hvdcore",  # __init__ alone
        "hvdcore.errors",
        "hvdcore.config",
        "hvdcore.sharding",
        "hvdcore.runtime",
        "hvdcore.files",
        "hvdcore.metrics",
        "hvdcore.tracking",
        "hvdcore.run",
        "hvdcore.keras",
        "hvdcore.torch",
        "hvdcore.launch.hosts",
        "hvdcore.launch.supervisor",
        "hvdcore.launch.job",
        "hvdcore.launch.options",
        "hvdcore.launch.elastic",
        "hvdcore.launch.ray",
        "hvdcore.launch",
        "hvdcore.launch.sbatch",
        "hvdcore.capacity",
        "hvdcore.doctor",
        "hvdcore.command_line",
        "hvdcore.options",
        "hvdcore.classifier",
        "hvdcore.classifier.keras",
        "hvdcore.tune",
        "hvdcore.cli",
        "hvdcore.__main__",
        "hvdcore.testing",
    ],
    "textgen": [
        "textgen",
        "textgen.tokenizer",
        "textgen.model",
        "textgen.pretrained",
        "textgen.data",
        "textgen.config",
        "textgen.generation",
        "textgen.export",
        "textgen.evaluation.evaluate",
        "textgen.evaluation.quality",
        "textgen.evaluation",
        "textgen.evaluation.compare",
        "textgen.training",
        "textgen.prepare_command",
        "textgen.plan_command",
        "textgen.search_space",
        "textgen.options",
        "textgen.cli",
        "textgen.__main__",
        "textgen.testing",
    ],
    "news_cls": [
        "news_cls",
        "news_cls.config",
        "news_cls.data",
        "news_cls.model",
        "news_cls.training",
        "news_cls.predict",
        "news_cls.check",
        "news_cls.prepare_command",
        "news_cls.search_space",
        "news_cls.cli",
        "news_cls.__main__",
        "news_cls.testing",
    ],
    "image_cls": [
        "image_cls",
        "image_cls.schedule",
        "image_cls.config",
        "image_cls.data",
        "image_cls.model",
        "image_cls.plots",
        "image_cls.predict",
        "image_cls.check",
        "image_cls.prepare_command",
        "image_cls.train",
        "image_cls.search_space",
        "image_cls.cli",
        "image_cls.__main__",
        "image_cls.testing",
    ],
}

FILES_IN_A_FOLDER = 20
SETTING = re.compile(r"HVDCORE_[A-Z0-9_]+")
SETTINGS_MODULE = "hvdcore.runtime.environment"
TEST_RIG = re.compile(r"(hvdcore|textgen|news_cls|image_cls)\.testing(\.|$)")


def sources() -> dict[str, str]:
    """Dotted name and text of every published module."""
    found = {}
    for root in sorted([*ROOT.glob("shared/*/src"), *ROOT.glob("packages/*/src")]):
        for path in sorted(root.rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


def imports(source: str, modules: Mapping[str, object]) -> set[str]:
    """The modules of ours that a source imports; `from package import module` is the module."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in modules else node.module)
    return found & modules.keys()


def room(module: str, order: Sequence[str]) -> int:
    """The place in the order of the folder or file that a module belongs to."""
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        if name in order and (count > 1 or len(parts) == 1):
            return order.index(name)
    raise AssertionError(f"{module}: say in ORDER where it stands")


def upward(modules: Mapping[str, str]) -> Iterator[str]:
    """Imports from a folder of one that stands above it."""
    for module, source in modules.items():
        order = ORDER[module.split(".")[0]]
        for other in sorted(imports(source, modules)):
            if other.split(".")[0] == module.split(".")[0] and room(other, order) > room(
                module, order
            ):
                yield f"{module} imports {other}"


def cycle(modules: Mapping[str, str]) -> list[str]:
    """Some cycle of imports, or nothing."""
    edges = {name: sorted(imports(source, modules) - {name}) for name, source in modules.items()}
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in edges[name]:
            if found := visit(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in edges if (found := visit(name, []))), [])


def settings_named(source: str) -> set[str]:
    """Names of environment variables of ours that stand in a source as strings of their own."""
    return {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and SETTING.fullmatch(node.value)
    }


def rig_imports(module: str, source: str, modules: Mapping[str, object]) -> set[str]:
    """What a module outside the test rig imports of it."""
    if TEST_RIG.match(module):
        return set()
    return {name for name in imports(source, modules) if TEST_RIG.match(name)}


def test_no_folder_imports_one_above_it() -> None:
    assert list(upward(sources())) == []


def test_no_cycle_of_files() -> None:
    assert cycle(sources()) == []


def test_settings_are_named_in_one_module() -> None:
    found = {name: settings_named(source) for name, source in sources().items()}
    assert {n: s for n, s in found.items() if s and n != SETTINGS_MODULE} == {}


def test_the_test_rig_is_for_tests() -> None:
    modules = sources()
    found = {name: rig_imports(name, source, modules) for name, source in modules.items()}
    assert {name: rig for name, rig in found.items() if rig} == {}


def test_folders_are_small() -> None:
    counts: dict[str, int] = {}
    for name in sources():
        folder = name.rpartition(".")[0]
        counts[folder] = counts.get(folder, 0) + 1
    assert {name: count for name, count in counts.items() if count > FILES_IN_A_FOLDER} == {}


def test_module_docstrings_say_what_the_module_is_about() -> None:
    others = {str(path): path.read_text("utf-8") for path in ROOT.glob("infra/[!h]*/**/*.py")}
    texts = {**sources(), **others}
    docs = {name: ast.get_docstring(ast.parse(source)) or "" for name, source in texts.items()}
    assert len(others) > 20
    assert [name for name, text in docs.items() if not text or text.startswith("Owns")] == []


LOWER, UPPER = "textgen.model.config", "textgen.training.train"


@pytest.mark.parametrize(
    "source",
    [
        f"import {UPPER}",
        f"def f():\n    from {UPPER} import train",
        f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {UPPER} import train",
        f"from {UPPER.rpartition('.')[0]} import train",
    ],
)
def test_control_an_import_from_above_is_caught(source: str) -> None:
    assert list(upward({LOWER: source, UPPER: ""})) == [f"{LOWER} imports {UPPER}"]


def test_control_an_import_from_below_is_let_through() -> None:
    assert list(upward({LOWER: "", UPPER: f"import {LOWER}"})) == []


def test_control_a_module_without_a_place_is_caught() -> None:
    with pytest.raises(AssertionError, match="say in ORDER"):
        list(upward({"textgen.novelty": f"import {LOWER}", LOWER: ""}))


def test_control_a_cycle_is_caught() -> None:
    names = ("textgen.data.a", "textgen.data.b", "textgen.data.c")
    modules = dict(zip(names, (f"import {name}" for name in (*names[1:], names[0])), strict=True))
    assert cycle(modules) == [*names, names[0]]
    assert cycle({**modules, names[2]: ""}) == []


def test_control_a_setting_elsewhere_is_caught() -> None:
    assert settings_named('import os\nos.environ["HVDCORE_NP"]') == {"HVDCORE_NP"}
    assert settings_named('"""Set HVDCORE_NP to change it."""') == set()


def test_control_an_import_of_the_rig_is_caught() -> None:
    modules = {"hvdcore.testing.ranks": "", "hvdcore.doctor": "import hvdcore.testing.ranks"}
    assert rig_imports("hvdcore.doctor", modules["hvdcore.doctor"], modules)
    assert not rig_imports("hvdcore.testing.x", modules["hvdcore.doctor"], modules)
