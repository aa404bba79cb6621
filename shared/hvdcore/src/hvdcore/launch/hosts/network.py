"""The network interface of a host that the ranks communicate through."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hvdcore.launch.hosts.hosts import address_of
from hvdcore.runtime.environment import NETWORKS

__all__ = ["Route", "interface_settings", "route_to"]

"""Variable with the networks between the hosts of a job: `10.0.0.0/24,10.0.1.0/24`."""

_DISCARD_PORT = 9


@dataclass(frozen=True)
class Route:
    """How a host reaches another: its interface's name, its own address and network there."""

    interface: str
    address: str
    network: str


def _interfaces() -> Iterator[tuple[str, ipaddress.IPv4Interface]]:
    import psutil  # here: only a job on several hosts needs it

    for name, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            if address.family == socket.AF_INET:
                yield name, ipaddress.IPv4Interface(f"{address.address}/{address.netmask or 32}")


def route_to(host: str) -> Route:
    """The route from here to a host; nothing is sent.

    Raises:
        OSError: the name is unknown, or there is no route.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address_of(host), _DISCARD_PORT))
        ours = probe.getsockname()[0]
    for name, interface in _interfaces():
        if str(interface.ip) == ours:
            return Route(name, ours, str(interface.network))
    raise OSError(f"no interface has the address {ours}")


def interface_settings(env: Mapping[str, str]) -> dict[str, str]:
    """The settings that give a rank on this host its interface; empty for a job on one host.

    Horovod's launcher gives every rank the name of the launcher's own interface, and the same
    network may have another name on another host.
    """
    networks = [ipaddress.IPv4Network(text) for text in env.get(NETWORKS, "").split(",") if text]
    for name, interface in _interfaces() if networks else ():
        if any(interface.ip in network for network in networks):
            return {"HOROVOD_GLOO_IFACE": name, "NCCL_SOCKET_IFNAME": name}
    return {}
