"""Owns `hvdcore doctor`: what is installed here, what works, and what to do about the rest."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hvdcore.controllers import (
    find_program,
    horovod_extensions,
    horovod_folder,
    mpi_problem,
    operations_built,
)
from hvdcore.environment import cores_available, threads_per_rank
from hvdcore.testing import run_ranks

__all__ = ["Finding", "examine", "run_doctor"]

_ALLREDUCE_SECONDS = 240.0
# Ranks 0 and 1 give 1 and 2 in each of 1,000 places; the sum is 3 everywhere.
_ALLREDUCE = """
import {framework}, horovod.{framework} as hvd
from hvdcore.testing import save_result
hvd.init()
total = hvd.allreduce({tensor} * (hvd.rank() + 1.0), op=hvd.Sum)
save_result([hvd.size(), float({framework_sum}(total))])
"""
_TENSORS = {"torch": ("torch.ones(1000)", "torch.sum")}
_TENSORS["tensorflow"] = ("tensorflow.ones(1000)", "tensorflow.reduce_sum")
_DISTRIBUTIONS = {"torch": "torch", "tensorflow": "tensorflow"}
_METADATA_NAMES = {"torch": "pytorch", "tensorflow": "tensorflow"}


@dataclass(frozen=True)
class Finding:
    """One line of the report. `fix` is not empty where something is to be done."""

    name: str
    value: str
    fix: str = ""


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _horovod() -> list[Finding]:
    folder, version = horovod_folder(), _version("horovod")
    if folder is None or version is None:
        fix = "install it: pip install ./infra/horovod in a checkout"
        return [Finding("horovod", "not installed", fix)]
    found = [Finding("horovod", version)]
    built = _built_against(folder)
    extensions = horovod_extensions()
    for framework, distribution in _DISTRIBUTIONS.items():
        found.append(_framework(framework, _version(distribution), built, framework in extensions))
    if _version("keras"):
        found.append(Finding("keras", str(_version("keras"))))
    if not any(_version(d) and f in extensions for f, d in _DISTRIBUTIONS.items()):
        fix = "install torch or tensorflow in the version that Horovod was built for"
        found.append(Finding("framework", "none that Horovod can use", fix))
    return found


def _built_against(folder: Path) -> dict[str, str]:
    try:
        content = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: str(content.get(key, "")) for name, key in _METADATA_NAMES.items()}


def _framework(
    name: str, installed: str | None, built: dict[str, str], has_extension: bool
) -> Finding:
    if not has_extension:
        value = f"{installed or 'not installed'}; Horovod built without it"
        return Finding(name, value)
    against = built.get(name, "unknown")
    if installed is None:
        return Finding(name, f"not installed (Horovod built for {against})")
    if _release(installed) == _release(against):
        return Finding(name, f"{installed} (Horovod built for {against})")
    fix = f"pip install '{name}=={_release(against)}', or build Horovod again"
    return Finding(name, f"{installed}, but Horovod was built for {against}", fix)


def _release(version: str) -> str:
    return version.partition("+")[0]


def _machine() -> list[Finding]:
    cores = cores_available()
    threads = threads_per_rank(2, cores)
    return [
        Finding("python", f"{platform.python_version()} ({sys.executable})"),
        Finding("hvdcore", _version("hvdcore") or "unknown"),
        Finding("cores", f"{cores}; slots for ranks: {cores} (more ranks share cores)"),
        Finding("threads per rank", f"{threads} with two ranks here"),
    ]


def _controllers() -> list[Finding]:
    if not horovod_extensions():
        return []
    program = find_program("mpirun")
    problem = mpi_problem()
    mpi = Finding("mpi", f"works ({program})") if problem is None else _missing("mpi", problem)
    operations = operations_built()
    gloo = Finding("gloo", "built in")
    if "gloo" not in operations:
        gloo = _missing("gloo", "not built in; build Horovod's wheel with HOROVOD_WITH_GLOO=1")
    return [mpi, gloo, Finding("tensor operations", ", ".join(operations) or "none")]


def _missing(name: str, problem: str) -> Finding:
    what, _, fix = problem.partition("; ")
    return Finding(name, what, fix or "see the message")


def _allreduce(controller: Any) -> Finding:
    """Two real ranks sum a tensor, and the answer is known."""
    name = f"two-rank allreduce, {controller}"
    framework = next((f for f in horovod_extensions() if _version(_DISTRIBUTIONS[f])), None)
    if framework is None:
        return Finding(name, "not tried: no framework", "install torch or tensorflow")
    tensor, total = _TENSORS[framework]
    script = _ALLREDUCE.format(framework=framework, tensor=tensor, framework_sum=total)
    with tempfile.TemporaryDirectory(prefix="hvdcore-doctor-") as folder:
        try:
            result = run_ranks(
                script, 2, folder=Path(folder), controller=controller, timeout=_ALLREDUCE_SECONDS
            )
        except AssertionError as error:
            return Finding(name, "did not end", str(error).splitlines()[0])
    if result.returncode == 0 and result.results == {0: [2, 3000.0], 1: [2, 3000.0]}:
        return Finding(name, f"right, in {result.seconds:.1f} s")
    said = [*result.logs.get(0, "").splitlines(), *result.stderr.splitlines()]
    value = f"failed: exit {result.returncode}, results {result.results}"
    return Finding(name, value, " | ".join([line for line in said if line.strip()][-3:]))


def examine(*, try_ranks: bool = True) -> list[Finding]:
    """Everything that the doctor looks at. `try_ranks` starts two real ranks per controller."""
    found = [*_machine(), *_horovod(), *_controllers()]
    if try_ranks and horovod_extensions():
        kinds = [k for k in ("mpi", "gloo") if any(f.name == k and not f.fix for f in found)]
        found += [_allreduce(kind) for kind in kinds]
    return found


def run_doctor(*, as_json: bool = False) -> int:
    """Print the report. Returns 0 when a two-rank job can run here, else 1."""
    found = examine()
    works = any(f.name.startswith("two-rank") and not f.fix for f in found)
    if as_json:
        print(json.dumps({"works": works, "findings": [asdict(f) for f in found]}, indent=2))
    else:
        _print_table(found, works)
    return 0 if works else 1


def _print_table(found: list[Finding], works: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        for finding in found:
            fix = f"  -> {finding.fix}" if finding.fix else ""
            print(f"{'!!' if finding.fix else 'ok'} {finding.name}: {finding.value}{fix}")
    else:
        table = Table("", "what", "found", "what to do")
        for finding in found:
            mark = "[red]✗" if finding.fix else "[green]✓"
            table.add_row(mark, finding.name, finding.value, finding.fix)
        console.print(table)
    print("Two ranks can run here." if works else "Two ranks cannot run here.")
