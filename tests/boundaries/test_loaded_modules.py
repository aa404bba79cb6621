"""What really gets loaded: an import of each package, and `--help` of each command and verb."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "tensorflow", "keras", "transformers", "horovod", "datasets", "pandas", "scipy"}
PROJECTS = sorted([*ROOT.glob("shared/*/pyproject.toml"), *ROOT.glob("packages/*/pyproject.toml")])

LOADED = """
import json, sys
sys.argv = sys.argv[1:]
try:
    exec(compile(CODE, "<test>", "exec"))
except SystemExit as end:
    assert not end.code, end.code
finally:
    with open(OUT, "w", encoding="utf-8") as file:
        json.dump(sorted({name.split(".")[0] for name in sys.modules}), file)
"""


def loaded(folder: Path, code: str, *argv: str) -> set[str]:
    """First names of the modules that a fresh Python has loaded after `code` with `sys.argv`."""
    out = folder / "modules.json"
    head = f"CODE = {code!r}\nOUT = {str(out)!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", head + LOADED, *argv],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(out.read_text(encoding="utf-8")))


def commands() -> list[tuple[str, str]]:
    """Every command that the repository installs, with its entry point."""
    found = []
    for path in PROJECTS:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        found += list(project.get("scripts", {}).items())
    return found


def packages() -> list[str]:
    return [path.name for project in PROJECTS for path in (project.parent / "src").iterdir()]


def need(package: str) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed here")


@pytest.mark.parametrize("package", packages())
def test_import_loads_no_framework(package: str, tmp_path: Path) -> None:
    need(package)
    assert loaded(tmp_path, f"import {package}") & HEAVY == set()


def test_import_of_hvdcore_loads_no_numpy(tmp_path: Path) -> None:
    assert "numpy" not in loaded(tmp_path, "import hvdcore")


@pytest.mark.parametrize(("command", "entry"), commands())
def test_help_loads_no_framework(command: str, entry: str, tmp_path: Path) -> None:
    module, function = entry.split(":")
    need(module.split(".")[0])
    code = f"from {module} import {function}\n{function}()"
    verbs = verbs_of(tmp_path, module)
    assert verbs, f"{command} has no verbs to ask"
    for argv in ([command, "--help"], *([command, verb, "--help"] for verb in verbs)):
        found = loaded(tmp_path, code, *argv) & HEAVY
        assert found == set(), f"{' '.join(argv)} loads {sorted(found)}"


HELP_SECONDS = 0.4
"""Of a processor: `--help` is to answer at once. It takes a fifth of that."""


@pytest.mark.parametrize(("command", "entry"), commands())
def test_help_answers_at_once(command: str, entry: str) -> None:
    module, function = entry.split(":")
    need(module.split(".")[0])
    code = f"from {module} import {function}; {function}()"
    assert processor_seconds(code, "--help") < HELP_SECONDS


def test_control_a_slow_start_is_seen() -> None:
    assert processor_seconds(f"import time\nwhile time.process_time() < {HELP_SECONDS}: pass") > (
        HELP_SECONDS
    )


def processor_seconds(code: str, *argv: str) -> float:
    """The least of three fresh Pythons: other work on the machine can only add to it."""
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code, *argv], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(took)


def verbs_of(folder: Path, module: str) -> list[str]:
    out = folder / "verbs.json"
    code = (
        f"import json, typer.main, {module} as cli\n"
        "group = typer.main.get_command(cli.app)\n"
        f"open({str(out)!r}, 'w').write(json.dumps(sorted(group.commands)))"
    )
    loaded(folder, code)
    return list(json.loads(out.read_text(encoding="utf-8")))


def test_control_a_heavy_import_is_seen(tmp_path: Path) -> None:
    fake = tmp_path / "torch.py"
    fake.write_text("", encoding="utf-8")
    code = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport torch"
    assert loaded(tmp_path, code) & HEAVY == {"torch"}


def test_commands_are_installed_under_their_names() -> None:
    for command, entry in commands():
        package = entry.split(".")[0]
        need(package)
        points = distribution(package).entry_points.select(group="console_scripts", name=command)
        assert [point.value for point in points] == [entry]
