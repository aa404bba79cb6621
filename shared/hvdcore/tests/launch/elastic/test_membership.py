"""Who takes part, over hand-made times."""

from __future__ import annotations

from hvdcore.launch.elastic.membership import Membership
from hvdcore.launch.hosts.hosts import Hosts


def chosen(membership: Membership, now: float) -> tuple[str, int] | None:
    team = membership.choose(now)
    return None if team is None else (str(team.hosts), team.np)


def test_ranks_fill_the_slots_in_the_order_in_which_hosts_came() -> None:
    subject = Membership(minimum=1, wanted=1, maximum=5)
    subject.list_hosts(Hosts({"b": 2, "a": 4}))
    assert chosen(subject, 0.0) == ("b:2,a:3", 5)
    subject.list_hosts(Hosts({"new": 9, "a": 2}))
    assert not subject.is_listed("b")
    assert chosen(subject, 0.0) == ("a:2,new:3", 5)


def test_a_host_that_failed_stays_out_longer_each_time() -> None:
    subject = Membership(minimum=2, wanted=2, maximum=9)
    subject.list_hosts(Hosts({"a": 2, "b": 2}))
    assert [subject.failed("b", 100.0, answers=True) for _ in range(3)] == [10.0, 20.0, 40.0]
    assert chosen(subject, 139.0) == ("a:2", 2)
    assert chosen(subject, 140.0) == ("a:2,b:2", 4)
    assert [subject.failed("b", 0.0, answers=True) for _ in range(5)][-1] == 600.0


def test_one_that_answers_is_taken_before_its_time_when_there_are_too_few() -> None:
    subject = Membership(minimum=3, wanted=3, maximum=9)
    subject.list_hosts(Hosts({"a": 2, "b": 2, "c": 2}))
    subject.failed("b", 0.0, answers=True)
    subject.failed("c", 0.0, answers=False)
    assert chosen(subject, 1.0) == ("a:2,b:2", 4)
    subject.leaving("a", 1.0)
    assert chosen(subject, 2.0) is None
    assert chosen(subject, 121.0) == ("a:2,b:2,c:2", 6)


def test_a_run_of_a_fixed_size_goes_on_with_what_is_left() -> None:
    subject = Membership(minimum=1, wanted=4, maximum=4)
    subject.list_hosts(Hosts({"a": 2, "b": 2}))
    subject.failed("b", 0.0, answers=True)
    assert chosen(subject, 1.0) == ("a:2,b:2", 4)
    subject.failed("b", 1.0, answers=False)
    assert chosen(subject, 2.0) == ("a:2", 2)


def test_only_numbers_of_ranks_that_fit_the_batch() -> None:
    subject = Membership(minimum=2, wanted=2, maximum=9, fits=lambda np: 12 % np == 0)
    subject.list_hosts(Hosts({"a": 4, "b": 1}))
    assert chosen(subject, 0.0) == ("a:4", 4)
    subject.list_hosts(Hosts({"b": 1}))
    assert chosen(subject, 0.0) is None
