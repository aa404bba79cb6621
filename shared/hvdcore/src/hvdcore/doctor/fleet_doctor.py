"""Owns `hvdcore doctor --hosts`: a table of the hosts, and what is wrong with each."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from hvdcore.launch.hosts.check import Fleet, look_at_fleet
from hvdcore.launch.hosts.named import named_hosts

__all__ = ["run_hosts_doctor"]

_COLUMNS = ("hvdcore", "horovod", "torch", "tensorflow")


def run_hosts_doctor(hosts: str | None, hostfile: Path | None, *, as_json: bool = False) -> int:
    """Print the table. Returns 0 when a job can run on all hosts, else 1.

    Raises:
        UserError: the hosts that are given cannot be read.
    """
    fleet = look_at_fleet(named_hosts(None, hosts, hostfile), always=True)
    if as_json:
        found = {name: asdict(facts) for name, facts in fleet.facts.items()}
        print(json.dumps({"hosts": found, "problems": fleet.problems}, indent=2))
    else:
        _print_table(fleet)
    return 1 if fleet.problems else 0


def _print_table(fleet: Fleet) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
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
        console.print(table)
        for lines in fleet.problems.values():
            for line in lines:
                print(line)
    print(
        "A job can run on all of them." if not fleet.problems else "No job can run on all of them."
    )
