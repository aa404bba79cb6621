"""`hvdcore doctor`: what is installed, whether two ranks work here, and which hosts are usable."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from hvdcore.doctor.examination import Finding, environment_report
from hvdcore.doctor.gpus import gpu_report
from hvdcore.launch.hosts.check import Fleet, inspect_fleet
from hvdcore.launch.hosts.hosts import named_hosts
from hvdcore.launch.job.controllers import horovod_library
from hvdcore.launch.job.horovodrun import clean_environment
from hvdcore.runtime.environment import python_module
from hvdcore.runtime.terminal import console

__all__ = [
    "examine",
    "run_doctor",
    "run_hosts_doctor",
]

_ALLREDUCE_SECONDS = 240.0
_END_SECONDS = 60.0
# Ranks 0 and 1 give 1 and 2 in each of 1,000 places; the sum is 3 everywhere.
_ALLREDUCE = """
import json, pathlib, sys
import numpy, horovod.numpy as hvd
hvd.init()
total = hvd.allreduce(numpy.ones(1000) * (hvd.rank() + 1.0), op=hvd.Sum)
result = json.dumps([hvd.size(), float(total.sum())])
pathlib.Path(sys.argv[1], f"rank-{hvd.rank()}.json").write_text(result)
"""


def _allreduce(controller: Literal["mpi", "gloo"]) -> Finding:
    """Two real ranks sum a tensor, and the answer is known."""
    name = f"two-rank allreduce, {controller}"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hvdcore-doctor-") as folder:
        code, said = _run_two_ranks(_ALLREDUCE, Path(folder), controller)
        results = [json.loads(path.read_text()) for path in Path(folder).glob("rank-*.json")]
    if code is None:
        return Finding(name, "did not end", f"no result within {_ALLREDUCE_SECONDS:g} s")
    if code == 0 and results == [[2, 3000.0]] * 2:
        return Finding(name, f"right, in {time.monotonic() - started:.1f} s")
    lines = [line for line in said.splitlines() if line.strip()]
    return Finding(name, f"failed: exit {code}, results {results}", " | ".join(lines[-3:]))


def _run_two_ranks(script: str, folder: Path, controller: str) -> tuple[int | None, str]:
    """The exit code, None when it took too long, and what the launcher printed."""
    program = folder / "allreduce.py"
    program.write_text(script, encoding="utf-8")
    launch = [*python_module("hvdcore"), "launch", "--np", "2", "--controller", controller]
    process = subprocess.Popen(
        [*launch, "--log-dir", str(folder / "logs"), sys.executable, str(program), str(folder)],
        env=clean_environment(os.environ), text=True, errors="replace", start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=_ALLREDUCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher ends its ranks
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_END_SECONDS)
        process.kill()
        return None, ""
    return process.returncode, said


def examine(*, try_ranks: bool = True) -> list[Finding]:
    """Everything that the doctor looks at. `try_ranks` starts two real ranks per controller."""
    found = environment_report()
    if try_ranks and horovod_library() is not None:
        working = {finding.name for finding in found if not finding.fix}
        kinds: tuple[Literal["mpi", "gloo"], ...] = ("mpi", "gloo")
        found += [_allreduce(kind) for kind in kinds if kind in working]
        found += gpu_report()
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
    from rich.table import Table

    printer = console()
    if not printer.is_terminal:
        for finding in found:
            fix = f"  -> {finding.fix}" if finding.fix else ""
            print(f"{'!!' if finding.fix else 'ok'} {finding.name}: {finding.value}{fix}")
    else:
        table = Table("", "what", "found", "what to do")
        for finding in found:
            mark = "[red]✗" if finding.fix else "[green]✓"
            table.add_row(mark, finding.name, finding.value, finding.fix)
        printer.print(table)
    print("Two ranks can run here." if works else "Two ranks cannot run here.")


_COLUMNS = ("hvdcore", "horovod", "torch", "tensorflow")


def run_hosts_doctor(hosts: str | None, hostfile: Path | None, *, as_json: bool = False) -> int:
    """Print the table. Returns 0 when a job can run on all hosts, else 1.

    Raises:
        UserError: the hosts that are given cannot be read.
    """
    fleet = inspect_fleet(named_hosts(None, hosts, hostfile), always=True)
    if as_json:
        found = {name: asdict(facts) for name, facts in fleet.facts.items()}
        print(json.dumps({"hosts": found, "problems": fleet.problems}, indent=2))
    else:
        _print_hosts(fleet)
    return 1 if fleet.problems else 0


def _print_hosts(fleet: Fleet) -> None:
    from rich.table import Table

    printer = console()
    if not printer.is_terminal:
        print("\n".join(fleet.lines()))
    else:
        table = Table("", "host", "slots", "cores", "python", *_COLUMNS, "commit", "interface")
        for name, slots in fleet.hosts.slots.items():
            facts = fleet.facts.get(name)
            if facts is None:
                table.add_row("[red]✗", name, str(slots))
                continue
            versions = [facts.versions.get(package, "") for package in _COLUMNS]
            route = f"{facts.route.interface} {facts.route.address}" if facts.route else ""
            table.add_row(
                "[green]✓", name, str(slots), str(facts.cores), facts.python, *versions,
                facts.commit, route,
            )  # fmt: skip
        printer.print(table)
        for lines in fleet.problems.values():
            for line in lines:
                print(line)
    print(
        "A job can run on all of them." if not fleet.problems else "No job can run on all of them."
    )
