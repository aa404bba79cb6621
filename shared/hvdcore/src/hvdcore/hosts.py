"""Owns the `--hosts` option: which hosts, how many ranks on each, and whether they are all here."""

from __future__ import annotations

import re
import socket

from hvdcore.errors import Problems, UserError

__all__ = ["Hosts", "parse_hosts"]

_HOST = re.compile(r"^(?P<name>\w[\w.-]*)(:(?P<slots>\d+))?$")


class Hosts:
    """Host names and their slots, in the order in which ranks fill them."""

    def __init__(self, slots: dict[str, int]) -> None:
        self.slots = slots

    def __str__(self) -> str:
        return ",".join(f"{name}:{slots}" for name, slots in self.slots.items())

    def our_address(self) -> str | None:
        """The address of this machine that the other hosts can reach; None when all are here.

        A machine's own name often means 127.0.0.1, or nothing at all elsewhere; the address from
        which it sends to another host is one that the other host can answer.
        """
        for name in self.slots:
            address = socket.gethostbyname(name)
            if not _is_ours(address):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.connect((address, 9))  # chooses a route; nothing is sent
                    return str(probe.getsockname()[0])
        return None


def _is_ours(address: str) -> bool:
    """Only an address of this machine can be bound."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def _is_known(name: str) -> bool:
    try:
        socket.gethostbyname(name)
    except OSError:
        return False
    return True


def parse_hosts(text: str | None, np: int) -> Hosts:
    """`a:2,b:2` (a host without a number has one slot); None is this machine with `np` slots.

    Raises:
        UserError: text that is no host list, an unknown host, fewer slots than ranks.
    """
    if np < 1:
        raise UserError(f"--np: got {np}; give the number of ranks, 1 or more")
    if not text:
        return Hosts({"localhost": np})
    problems = Problems()
    slots: dict[str, int] = {}
    for item in text.split(","):
        match = _HOST.match(item.strip())
        if match is None:
            problems.add("--hosts", f"cannot read {item.strip()!r}; write name:slots,name:slots")
            continue
        slots[match["name"]] = slots.get(match["name"], 0) + int(match["slots"] or 1)
    for name in slots:
        if not _is_known(name):
            problems.add("--hosts", f"no host is called {name!r}; check it, or give an address")
    if not problems and sum(slots.values()) < np:
        problems.add(
            "--np",
            f"{np} ranks do not fit in the {sum(slots.values())} slots of --hosts {text}; "
            "give the hosts more slots (name:slots) or fewer ranks",
        )
    problems.raise_if_any()
    return Hosts(slots)
