from __future__ import annotations

import socket
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.launch.hosts.ask import ask_host
from hvdcore.launch.hosts.hosts import Hosts, address_of, named_hosts, parse_hostfile, parse_hosts
from hvdcore.launch.options import StartOptions
from hvdcore.runtime.world import slurm_slots, slurm_tasks


def test_this_machine_takes_any_number_of_ranks() -> None:
    hosts = named_hosts(9, None)
    assert str(hosts) == "localhost:9"
    assert hosts.our_address() is None


def test_slots_add_up_and_one_is_the_default() -> None:
    hosts = named_hosts(3, "localhost, 127.0.0.1:2")
    assert hosts.slots == {"localhost": 1, "127.0.0.1": 2}
    assert hosts.our_address() is None
    assert [hosts.host_of(rank) for rank in range(3)] == ["localhost", "127.0.0.1", "127.0.0.1"]


def test_a_host_elsewhere_is_told_an_address_and_not_a_name() -> None:
    try:
        address = parse_hosts("localhost:1,192.0.2.77:4").our_address()
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
        ("localhost:0", 1, "cannot read 'localhost:0'"),
        ("a b", 1, "cannot read 'a b'"),
        ("$(reboot):1", 1, "cannot read"),
        ("-x:2", 1, "cannot read"),
    ],
)
def test_what_cannot_work_is_the_users_error(text: str | None, np: int, message: str) -> None:
    with pytest.raises(UserError) as caught:
        named_hosts(np, text)
    assert message in str(caught.value)


def test_a_hostfile_as_horovod_and_open_mpi_write_it(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("# ours\na slots=2\nb:3\n\nc\n d  slots = 4 max_slots=4  # big\n", "utf-8")
    assert parse_hostfile(file).slots == {"a": 2, "b": 3, "c": 1, "d": 4}
    assert named_hosts(None, None, file).num_slots == 10
    with pytest.raises(UserError, match="not both"):
        named_hosts(2, "a:2", file)


def test_every_wrong_line_of_a_hostfile_is_told(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("a slots=two\nb slots=2\n$(id)\n", "utf-8")
    with pytest.raises(UserError) as caught:
        parse_hostfile(file)
    assert [p.split(" cannot")[0] for p in caught.value.problems] == [
        f"--hostfile: {file}:1:",
        f"--hostfile: {file}:3:",
    ]
    file.write_text("# nobody\n", "utf-8")
    with pytest.raises(UserError, match="names no host"):
        parse_hostfile(file)
    with pytest.raises(UserError, match="cannot read"):
        parse_hostfile(tmp_path / "none")


def test_a_slurm_allocation_of_several_nodes_is_taken() -> None:
    env = {"SLURM_JOB_NODELIST": "n[01-03,7]-ib,m", "SLURM_TASKS_PER_NODE": "2(x3),1(x2)"}
    slots = {"n01-ib": 2, "n02-ib": 2, "n03-ib": 2, "n7-ib": 1, "m": 1}
    assert slurm_slots(env) == slots
    assert named_hosts(8, None, None, env).slots == slots
    assert named_hosts(8, "a:8", None, env).slots == {"a": 8}
    alone = {"SLURM_JOB_NODELIST": "n01", "SLURM_TASKS_PER_NODE": "1"}
    assert named_hosts(4, None, None, alone).slots == Hosts({"localhost": 4}).slots


def test_the_tasks_of_an_allocation_are_its_ranks() -> None:
    env = {"SLURM_JOB_NODELIST": "a,b", "SLURM_TASKS_PER_NODE": "16(x2)"}
    # Slurm counts cores where no tasks were asked for; srun would start one on each node.
    assert slurm_tasks(env) == {"a": 1, "b": 1}
    assert named_hosts(None, None, None, env).slots == {"a": 1, "b": 1}
    assert named_hosts(8, None, None, env).slots == {"a": 16, "b": 16}
    asked = {**env, "SLURM_NTASKS": "32"}
    assert named_hosts(None, None, None, asked).slots == {"a": 16, "b": 16}
    alone = {"SLURM_JOB_NODELIST": "a", "SLURM_TASKS_PER_NODE": "4", "SLURM_NTASKS": "4"}
    assert named_hosts(None, None, None, alone).slots == {"localhost": 4}
    assert slurm_tasks({}) == {}


@pytest.mark.parametrize(
    ("tasks", "np", "needed"), [(1, None, False), (2, None, True), (2, 1, False)]
)
def test_a_command_inside_an_allocation_starts_a_rank_for_each_task(
    monkeypatch: pytest.MonkeyPatch, tasks: int, np: int | None, needed: bool
) -> None:
    monkeypatch.setenv("SLURM_JOB_NODELIST", "a")
    monkeypatch.setenv("SLURM_TASKS_PER_NODE", str(tasks))
    monkeypatch.setenv("SLURM_NTASKS", str(tasks))
    assert StartOptions(np=np).needs_launcher is needed


def test_a_slurm_allocation_that_cannot_be_read() -> None:
    with pytest.raises(UserError, match="do not fit together"):
        slurm_slots({"SLURM_JOB_NODELIST": "n[1-3]", "SLURM_TASKS_PER_NODE": "2(x2)"})


def test_a_host_of_ipv6_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system answers for such names; the addresses themselves are bound for real."""
    known = {"here": ["::1"], "both": ["::1", "127.0.0.1"], "far": ["2001:db8::2"]}

    def answer(name: str, port: object, **kind: object) -> list[tuple[object, ...]]:
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in a], 1, 6, "", (a, 0)) for a in known[name]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert [address_of(name) for name in known] == ["::1", "127.0.0.1", "2001:db8::2"]
    hosts = Hosts({"here": 2, "both": 1, "far": 1})
    assert hosts.with_ipv4_names().slots == {"localhost": 2, "both": 1, "far": 1}
    with pytest.raises(UserError, match=r"--hosts: far has addresses of IPv6 alone"):
        ask_host("far", "hvdcore", [])
