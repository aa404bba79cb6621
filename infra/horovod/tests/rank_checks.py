"""Runs functions named check_* on real ranks and tells pytest how each went on each rank.

A file of checks is started once for each launcher; every rank calls all its checks in the order
they are written in, and notes the outcome of each. A check that must fail is marked by
`@must_fail`: it is the control of another one.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LAUNCHERS = ("gloo", "mpi")
SECONDS = 400


def must_fail(error: type[BaseException]) -> Callable:
    """Marks a control: the check must raise `error`, on every rank."""

    def mark(check: Callable) -> Callable:
        check.must_fail = error
        return check

    return mark


def error_of(kind: type[BaseException], call: Callable[[], object]) -> str:
    """The text of the error that the call raises."""
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def names_in(file: str) -> list[str]:
    """The checks in a file, which is not imported."""
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [node.name for node in functions if node.name.startswith("check_")]


def assert_passed(file: str, check: str, launcher: str, ranks: int = 2) -> None:
    """Fails with the report of the first rank on which the check did not pass."""
    for rank, outcome in enumerate(outcomes(file, launcher, ranks)):
        if outcome.get(check) != "passed":
            pytest.fail(f"rank {rank}: {outcome.get(check) or outcome['output']}", pytrace=False)


@functools.cache
def outcomes(file: str, launcher: str, ranks: int) -> list[dict[str, str]]:
    """For each rank: "passed" or the traceback of each check that it ran."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*launch(launcher, ranks), sys.executable, __file__, file, folder]
        with open(Path(folder) / "output", "w+") as output:
            try:
                subprocess.run(
                    command, env=environment(), stdout=output, stderr=output, timeout=SECONDS
                )
            except subprocess.TimeoutExpired:
                output.write(f"\nnot done within {SECONDS} s\n")
            output.seek(0)
            text = f"it was not run; the end of the output:\n{output.read()[-3000:]}"
        return [read(Path(folder) / f"rank.{rank}", text) for rank in range(ranks)]


def read(path: Path, output: str) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {"output": output, **dict(json.loads(line) for line in lines)}


def launch(launcher: str, ranks: int) -> list[str]:
    """The command that starts a command on each rank."""
    if launcher == "mpi":
        return ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(ranks)]
    return ["horovodrun", "--gloo", "-np", str(ranks)]


def environment(**changes: str) -> dict[str, str]:
    """The environment of a job: the commands of this Python first, one thread a rank."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    own = {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}
    return {**os.environ, **root, **own, "PATH": path, **changes}


def run_checks(file: str, folder: str) -> None:
    """Called on each rank."""
    spec = importlib.util.spec_from_file_location("checks", HERE / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rank = module.start()
    with open(Path(folder) / f"rank.{rank}", "w", encoding="utf-8") as report:
        for name in names_in(file):
            print(json.dumps([name, outcome_of(getattr(module, name))]), file=report, flush=True)


def outcome_of(check: Callable[[], None]) -> str:
    expected = getattr(check, "must_fail", None)
    try:
        check()
    except Exception as error:
        if expected is not None and isinstance(error, expected):
            return "passed"
        return traceback.format_exc()
    return "passed" if expected is None else f"it did not raise {expected.__name__}"


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    run_checks(*sys.argv[1:])
