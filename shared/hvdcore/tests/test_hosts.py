from __future__ import annotations

import socket

import pytest

from hvdcore.errors import UserError
from hvdcore.hosts import parse_hosts


def test_this_machine_takes_any_number_of_ranks() -> None:
    hosts = parse_hosts(None, 9)
    assert str(hosts) == "localhost:9"
    assert hosts.our_address() is None


def test_slots_add_up_and_one_is_the_default() -> None:
    hosts = parse_hosts("localhost, 127.0.0.1:2", 3)
    assert hosts.slots == {"localhost": 1, "127.0.0.1": 2}
    assert hosts.our_address() is None


def test_a_host_elsewhere_is_told_an_address_and_not_a_name() -> None:
    try:
        address = parse_hosts("localhost:1,192.0.2.77:4", 4).our_address()
    except OSError:
        pytest.skip("this machine has no route to anywhere")
    assert address is not None
    assert socket.inet_aton(address)
    assert not address.startswith("127.")


@pytest.mark.parametrize(
    ("text", "np", "message"),
    [
        (None, 0, "--np: got 0"),
        ("localhost:2", 3, "3 ranks do not fit in the 2 slots"),
        ("localhost:x", 1, "cannot read 'localhost:x'"),
        ("a b", 1, "cannot read 'a b'"),
        ("$(reboot):1", 1, "cannot read"),
        ("-x:2", 1, "cannot read"),
        ("no-such-host.invalid:2", 2, "no host is called 'no-such-host.invalid'"),
    ],
)
def test_what_cannot_work_is_the_users_error(text: str | None, np: int, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_hosts(text, np)
    assert message in str(caught.value)
