from __future__ import annotations

import psutil

from hvdcore.launch.hosts.network import Route, interface_settings, route_to
from hvdcore.runtime.environment import NETWORKS


def test_this_machine_reaches_itself_by_its_loopback() -> None:
    names = psutil.net_if_addrs()
    loopback = next(name for name in names if any(a.address == "127.0.0.1" for a in names[name]))
    assert route_to("localhost") == Route(loopback, "127.0.0.1", "127.0.0.0/8")
    chosen = interface_settings({NETWORKS: "192.0.2.128/31,127.0.0.0/8"})
    assert chosen == {"HOROVOD_GLOO_IFACE": loopback, "NCCL_SOCKET_IFNAME": loopback}


def test_a_job_on_one_host_leaves_the_interface_alone() -> None:
    assert interface_settings({}) == {}
    assert interface_settings({NETWORKS: "192.0.2.128/31"}) == {}
