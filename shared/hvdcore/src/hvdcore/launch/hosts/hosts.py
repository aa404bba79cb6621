"""The hosts of a job and the ranks on each: `--hosts`, `--hostfile`, Slurm, or this machine."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path

from hvdcore.errors import Problems, UserError
from hvdcore.runtime.world import slurm_slots, slurm_tasks

__all__ = [
    "Hosts",
    "address_of",
    "is_ipv6",
    "is_ours",
    "named_hosts",
    "parse_hostfile",
    "parse_hosts",
]

_MAX_HOSTFILE_BYTES = 10_000_000
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
            address = address_of(name)
            if not is_ours(address):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.connect((address, 9))  # chooses a route; nothing is sent
                    return str(probe.getsockname()[0])
        return None

    def with_ipv4_names(self) -> Hosts:
        """The same with `localhost` for a name of this machine that only IPv6 knows: Horovod's
        launcher looks names up in IPv4, and would take it for another host."""
        return Hosts({
            "localhost" if is_ipv6(address := address_of(name)) and is_ours(address) else name: n
            for name, n in self.slots.items()
        })  # fmt: skip

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


def address_of(name: str) -> str:
    """An address of a host: of IPv4 if it has one, else of IPv6.

    Raises:
        OSError: nobody knows the name.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    first = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return str(first[4][0])


def is_ipv6(address: str) -> bool:
    """Whether an address is one of IPv6."""
    return ":" in address


def is_ours(address: str) -> bool:
    """Whether an address is this machine's: only such a one can be bound."""
    with socket.socket(socket.AF_INET6 if is_ipv6(address) else socket.AF_INET) as probe:
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


_LINE = re.compile(
    r"^(?P<name>\w[\w.-]*)(:(?P<colon>\d+))?(\s+slots\s*=\s*(?P<slots>\d+))?(\s+max_slots\s*=\s*\d+)?$"
)


def parse_hostfile(path: Path) -> Hosts:
    """Horovod's and Open MPI's form: `name slots=2` a line (or `name:2`), `#` begins a comment.

    Raises:
        UserError: no such file, or a line that cannot be read; all of them at once.
    """
    try:
        with path.open("rb") as file:  # /dev/zero has no end
            content = file.read(_MAX_HOSTFILE_BYTES + 1)
        if len(content) > _MAX_HOSTFILE_BYTES:
            raise UserError(f"--hostfile: {path}: more than 10 MB; give a list of hosts")
        lines = content.decode("utf-8").splitlines()
    except OSError as error:
        raise UserError(
            f"--hostfile: cannot read {path} ({error.strerror}); check the path"
        ) from None
    except UnicodeDecodeError:
        raise UserError(
            f"--hostfile: {path} is not UTF-8 text; write one 'name slots=N' per line"
        ) from None
    problems = Problems()
    slots: dict[str, int] = {}
    for number, raw in enumerate(lines, 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        match = _LINE.match(line)
        given = match and (match["slots"] or match["colon"] or "1")
        if match is None or given == "0":
            problems.add("--hostfile", f"{path}:{number}: cannot read {line!r}; write name slots=N")
            continue
        slots[match["name"]] = slots.get(match["name"], 0) + int(given or 1)
    if not slots and not problems:
        problems.add("--hostfile", f"{path} names no host; write one 'name slots=N' per line")
    problems.raise_if_any()
    return Hosts(slots)


def named_hosts(
    np: int | None,
    hosts: str | None,
    hostfile: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Hosts:
    """The hosts that the options name, else those of a Slurm allocation, else this machine.

    Args:
        np: number of ranks; None means all slots, or the tasks of an allocation.
        env: with Slurm's variables; None looks at no allocation.

    Raises:
        UserError: what is given cannot be read, or has fewer slots than ranks.
    """
    if np is not None and np < 1:
        raise UserError(f"--np: got {np}; give the number of ranks, 1 or more")
    if hosts and hostfile:
        raise UserError("--hostfile: give --hosts or --hostfile, not both")
    if hostfile:
        found = parse_hostfile(hostfile)
    elif hosts:
        found = parse_hosts(hosts)
    else:
        found = _allocated(np, env or {})
    if np is not None:
        found.require_slots(np)
    return found


def _allocated(np: int | None, env: Mapping[str, str]) -> Hosts:
    tasks = slurm_tasks(env)
    if len(tasks) > 1:
        return Hosts(tasks if np is None else slurm_slots(env) or tasks)
    # An allocation of one node is this machine, with as many ranks as are asked for.
    return Hosts({"localhost": np or sum(tasks.values()) or 1})
