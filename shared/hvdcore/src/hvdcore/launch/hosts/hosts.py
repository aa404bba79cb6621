"""Owns which hosts a job may use and how many ranks on each, and the `--hosts` option."""

from __future__ import annotations

import re
import socket

from hvdcore.errors import Problems, UserError

__all__ = ["Hosts", "is_ours", "parse_hosts"]

_HOST = re.compile(r"^(?P<name>\w[\w.-]*)(:(?P<slots>\d+))?$")


class Hosts:
    """Host names and their slots, in the order in which ranks fill them."""

    def __init__(self, slots: dict[str, int]) -> None:
        self.slots = slots

    def __str__(self) -> str:
        return ",".join(f"{name}:{slots}" for name, slots in self.slots.items())

    @property
    def num_slots(self) -> int:
        """Slots of all hosts together."""
        return sum(self.slots.values())

    def host_of(self, rank: int) -> str:
        """The host on which a rank runs: ranks fill the slots in order."""
        first = 0
        for name, slots in self.slots.items():
            first += slots
            if rank < first:
                return name
        raise IndexError(f"rank {rank} of {first} slots")

    def our_address(self) -> str | None:
        """The address of this machine that the other hosts can reach; None when all are here.

        A machine's own name often means 127.0.0.1, or nothing at all elsewhere; the address from
        which it sends to another host is one that the other host can answer.
        """
        for name in self.slots:
            address = socket.gethostbyname(name)
            if not is_ours(address):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.connect((address, 9))  # chooses a route; nothing is sent
                    return str(probe.getsockname()[0])
        return None

    def require_slots(self, np: int) -> None:
        """Check that `np` ranks fit.

        Raises:
            UserError: there are fewer slots.
        """
        if self.num_slots < np:
            raise UserError(
                f"--np: {np} ranks do not fit in the {self.num_slots} slots of --hosts {self}; "
                "give the hosts more slots (name:slots) or fewer ranks"
            )


def is_ours(address: str) -> bool:
    """Whether an address is this machine's: only such a one can be bound."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def parse_hosts(text: str, default_slots: int = 1) -> Hosts:
    """`a:2,b:2`; a host without a number has `default_slots`.

    Raises:
        UserError: text that is no host list.
    """
    problems = Problems()
    slots: dict[str, int] = {}
    for item in text.split(","):
        match = _HOST.match(item.strip())
        if match is None or match["slots"] == "0":
            problems.add("--hosts", f"cannot read {item.strip()!r}; write name:slots,name:slots")
            continue
        slots[match["name"]] = slots.get(match["name"], 0) + int(match["slots"] or default_slots)
    problems.raise_if_any()
    return Hosts(slots)
