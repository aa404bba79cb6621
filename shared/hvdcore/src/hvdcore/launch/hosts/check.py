"""The check of all hosts before a job starts: reachable, alike, and on one network."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from hvdcore.errors import UserError
from hvdcore.launch.hosts.ask import ask_host, is_here
from hvdcore.launch.hosts.facts import HostFacts, facts_here
from hvdcore.launch.hosts.hosts import Hosts
from hvdcore.runtime.terminal import write_fd

__all__ = ["Fleet", "check_fleet", "inspect_fleet", "require_like", "show_fleet"]

_MAX_AT_ONCE = 64


@dataclass(frozen=True)
class Fleet:
    """What the check found.

    Attributes:
        here: facts of this machine, None when it was not asked.
        facts: of the hosts that are fit.
        problems: lines about the hosts that are not.
        address: of this machine, for the ranks to call; '' asks where a route to them begins.
    """

    hosts: Hosts
    here: HostFacts | None = None
    facts: dict[str, HostFacts] = field(default_factory=dict)
    problems: dict[str, tuple[str, ...]] = field(default_factory=dict)
    address: str = ""

    @property
    def networks(self) -> str:
        """The networks of the chosen interfaces, comma-separated; '' for a job on this machine."""
        routes = [facts.route for facts in self.facts.values() if facts.route is not None]
        return ",".join(dict.fromkeys(route.network for route in routes))

    @property
    def our_interface(self) -> str | None:
        """This machine's interface towards the others."""
        return self.here.route.interface if self.here and self.here.route else None

    def lines(self) -> list[str]:
        """One line or more for each host: slots, versions, interface, or what is wrong."""
        return [line for name in self.hosts.slots for line in self._about(name)]

    def _about(self, name: str) -> tuple[str, ...]:
        if name in self.problems:
            return self.problems[name]
        if name not in self.facts:
            return ()
        facts = self.facts[name]
        versions = {"python": facts.python, **facts.versions}
        listed = ", ".join(f"{package} {version}" for package, version in versions.items())
        code = f"commit {facts.commit}, " if facts.commit else ""
        route = f"{facts.route.interface} {facts.route.address}" if facts.route else "no network"
        slots = self.hosts.slots[name]
        return (f"host {name}: {slots} slots, {listed}, {code}sources {facts.code}, {route}",)


def check_fleet(hosts: Hosts, package: str = "hvdcore") -> Fleet:
    """The hosts, all fit for a job; those of a job on this machine alone are not asked.

    Raises:
        UserError: unknown, unreachable, refusing or differing hosts; all problems at once.
    """
    fleet = inspect_fleet(hosts, package)
    if fleet.problems:
        raise UserError(*(line for lines in fleet.problems.values() for line in lines))
    return fleet


def inspect_fleet(hosts: Hosts, package: str = "hvdcore", *, always: bool = False) -> Fleet:
    """Ask every host at the same time; within a minute or so each has answered or is a problem.

    Args:
        package: the distribution that runs; it has to be the same on every host.
        always: look at this machine even when all hosts are this machine.
    """
    names = list(hosts.slots)
    if not always and all(is_here(name) for name in names):
        return Fleet(hosts)
    elsewhere = [name for name in names if not is_here(name)]
    here = facts_here(package, os.getcwd(), elsewhere)
    fleet = Fleet(hosts, here)
    with ThreadPoolExecutor(min(len(names), _MAX_AT_ONCE)) as pool:
        asked = {
            name: pool.submit(_fit_facts, name, package, _peers(name, names, elsewhere, here), here)
            for name in names
        }
    for name, answer in asked.items():
        error = answer.exception()
        if error is None:
            fleet.facts[name] = answer.result()
        elif isinstance(error, UserError):
            fleet.problems[name] = error.problems
        else:
            raise error
    return fleet


def _peers(name: str, names: list[str], elsewhere: list[str], here: HostFacts) -> list[str]:
    """The hosts that one has to reach, as it can call them: `localhost` is another one there."""
    if name not in elsewhere:
        return elsewhere
    us = [here.route.address] if here.route is not None else []
    others = [other for other in elsewhere if other != name]
    # A machine that only launches may reach the hosts over another network than they each other.
    return [*others, *us] if len(elsewhere) == len(names) else [*us, *others]


def _fit_facts(name: str, package: str, peers: list[str], here: HostFacts) -> HostFacts:
    facts = ask_host(name, package, peers)
    require_like(name, facts, here)
    return facts


def require_like(name: str, there: HostFacts, here: HostFacts, option: str = "--hosts") -> None:
    """A job's ranks must compute the same: same versions, same sources, same folder.

    Raises:
        UserError: they differ from ours.
    """
    ours = {"python": here.python, **here.versions}
    theirs = {"python": there.python, **there.versions}
    differing = [
        f"{package} {theirs.get(package, 'missing')} there, {ours.get(package, 'missing')} here"
        for package in dict.fromkeys((*ours, *theirs))
        if ours.get(package) != theirs.get(package)
    ]
    if there.code != here.code:
        commits = f" (commit {there.commit or 'unknown'} there, {here.commit or 'unknown'} here)"
        differing.append(f"other sources of the package{commits}")
    problems = []
    if differing:
        text = "; ".join(differing)
        problems.append(f"{option}: {name} differs: {text}; install the same on every host")
    if not there.has_folder:
        problems.append(
            f"{option}: {name} has no folder {os.getcwd()}; start in one that all hosts share"
        )
    if problems:
        raise UserError(*problems)


def show_fleet(fleet: Fleet) -> None:
    """Tell the user, on stderr, what was found on each host that was asked."""
    write_fd(2, "".join(f"{line}\n" for line in fleet.lines()).encode("utf-8", "backslashreplace"))
