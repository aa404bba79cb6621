"""Shell blocks of the READMEs: they parse, and their files, sessions, verbs and flags exist."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in (
        "*.md",
        "shared/*/*.md",
        "packages/*/*.md",
        "infra/*/*.md",
        "infra/docs/*/**/*.md",
    )
    for path in ROOT.glob(pattern)
)
BLOCK = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CLIS = {"textgen": "textgen.cli", "hvdcore": "hvdcore.cli", "image-cls": "image_cls.cli"}
CLIS["news-cls"] = "news_cls.cli"
LAUNCHERS = {"horovodrun", "mpirun", "srun"}
OTHERS = {"git", "cd", "export", "source", "tensorboard", "docker", "ls", "cat", "ssh", "sbatch"}
OTHERS |= {"kubectl", "rsync", "sky", "echo", "grep", ".", "until", "kill", "wait"}


def blocks(text: str) -> list[str]:
    return BLOCK.findall(text)


def commands(block: str) -> Iterator[list[str]]:
    """The commands of a block as words; of a console block only what stands after a prompt."""
    lines = block.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    for line in lines:
        for part in re.split(r"\s(?:&&|\|\||;|\|)\s", line):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words:
                yield words


def problems(words: list[str]) -> list[str]:
    """What in one command does not exist in this checkout."""
    program, rest = Path(words[0]).name or words[0], words[1:]
    if program == "timeout":
        return problems([word for word in rest if not word.startswith("--preserve")][1:])
    if program in LAUNCHERS:
        inner = next((i for i, word in enumerate(rest) if word in (*CLIS, "python")), None)
        return [] if inner is None else problems(rest[inner:])
    if program in CLIS:
        ours, inner = cut(rest, "--") if rest[:1] == ["slurm"] else (rest, [])
        return cli_problems(program, ours) + (problems(inner) if inner else [])
    if program in ("python", "python3", "pip", "nox", "pytest"):
        missing = [f"no file {p}" for p in paths(rest) if not (ROOT / p).exists()]
        return missing + session_problems(program, rest)
    return [] if program in OTHERS else [f"unknown program {program}"]


def cut(words: list[str], at: str) -> tuple[list[str], list[str]]:
    """The words before and after the first `at`; all are before where there is none."""
    place = words.index(at) if at in words else len(words)
    return words[:place], words[place + 1 :]


def paths(words: list[str]) -> list[str]:
    """Words that name a file of the checkout. Capitals and train.py stand for the reader's own."""
    words = [re.sub(r"\[[\w,-]+\]$", "", w) for w in words]  # a package's extras
    named = [w for w in words if w.startswith("./") or re.search(r"\.(py|toml|txt|sh)$", w)]
    own = ("-", "/", "~", "$", "runs/", "wheels/", ".venv", "./runs/", "./.venv")
    return [w for w in named if not w.startswith(own) and not w.isupper() and w != "train.py"]


def session_problems(program: str, words: list[str]) -> list[str]:
    if program != "nox" and "noxfile.py" not in words:
        return []
    asked = [value for flag, value in itertools.pairwise(words) if flag in ("-s", "-e")]
    names = {re.sub(r"\(.*", "", name) for name in asked}
    return [f"no nox session {name}" for name in sorted(names - nox_sessions())]


@cache
def nox_sessions() -> frozenset[str]:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    decorated = {f.name: " ".join(map(ast.unparse, f.decorator_list)) for f in functions}
    sessions = {name: marks for name, marks in decorated.items() if "nox.session" in marks}
    named = {name: re.search(r"name='([^']+)'", marks) for name, marks in sessions.items()}
    return frozenset(found[1] if found else name for name, found in named.items())


def cli_problems(program: str, words: list[str]) -> list[str]:
    if importlib.util.find_spec(CLIS[program].split(".")[0]) is None:
        return []  # tested where that package is installed
    group: Any = typer.main.get_command(importlib.import_module(CLIS[program]).app)
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is None:
        return [] if set(words) <= {"--help", "--version"} else [f"{program} needs a verb"]
    if verb not in group.commands:
        return [f"{program} has no verb {verb}"]
    known = {"--help"} | {o for p in group.commands[verb].params for o in p.opts + p.secondary_opts}
    own = words[: words.index("--np") + 2] if verb == "launch" and "--np" in words else words
    flags = {word.split("=")[0] for word in own if word.startswith("--") and word != "--"}
    return [f"{program} {verb} has no option {flag}" for flag in sorted(flags - known)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shell_blocks_name_what_exists(path: Path) -> None:
    found = []
    for block in blocks(path.read_text(encoding="utf-8")):
        for words in commands(block):
            found += [f"{shlex.join(words)}: {problem}" for problem in problems(words)]
    assert found == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shell_blocks_parse(path: Path) -> None:
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("no sh")
    for block in blocks(path.read_text(encoding="utf-8")):
        if "$ " not in block[:2]:
            done = subprocess.run([shell, "-n"], input=block, capture_output=True, text=True)
            assert done.returncode == 0, f"{block}\n{done.stderr}"


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("python3 noxfile.py -s tests", []),
        ("python3 noxfile.py -s 'tests(hvdcore)' -s nothing", ["no nox session nothing"]),
        ("pip install ./packages/textgen ./packages/gone", ["no file ./packages/gone"]),
        ("pip install './packages/gone[tune]'", ["no file ./packages/gone"]),
        ("pip install './packages/textgen[tune]'", []),
        ("textgen train --np 2 --epochs 3", []),
        (
            "HVD_DATA=x horovodrun -np 2 textgen train --speed 9",
            ["textgen train has no option --speed"],
        ),
        ("textgen fly", ["textgen has no verb fly"]),
        ("timeout --preserve-status 9 textgen fly", ["textgen has no verb fly"]),
        ("hvdcore slurm --time 10 -- textgen train --np 2", []),
        (
            "hvdcore slurm --tim 10 -- textgen train --speed 9",
            ["hvdcore slurm has no option --tim", "textgen train has no option --speed"],
        ),
        ("hvdcore launch --np 2 my-program --its-own-flag", []),
        ("hvdcore launch --no 2", ["hvdcore launch has no option --no"]),
        ("rm -rf runs", ["unknown program rm"]),
    ],
)
def test_control_of_the_reader(line: str, caught: list[str]) -> None:
    assert [p for words in commands(line) for p in problems(words)] == caught


def test_control_of_the_blocks() -> None:
    text = (
        "a\n```sh\ntextgen train \\\n  --np 2  # two\ncd x && git status\n```\n```python\nx\n```\n"
    )
    assert [list(commands(b)) for b in blocks(text)] == [
        [["textgen", "train", "--np", "2"], ["cd", "x"], ["git", "status"]]
    ]
    assert list(commands("$ textgen train\nloss 1.0\n")) == [["textgen", "train"]]
