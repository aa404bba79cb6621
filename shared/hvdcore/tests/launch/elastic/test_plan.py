"""What the options mean together, and what they cannot mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hvdcore.errors import UserError
from hvdcore.launch.elastic.plan import make_plan
from hvdcore.launch.job.job import JobSettings
from hvdcore.launch.launch import launch_on_hosts
from hvdcore.launch.options import StartOptions


def first_team(batch: int | None, **options: Any) -> tuple[str, int] | None:
    plan = make_plan(StartOptions(**options), {}, batch)
    plan.membership.list_hosts(plan.ask())
    team = plan.membership.choose(0.0)
    return None if team is None else (str(team.hosts), team.np)


def test_a_fixed_size_starts_as_asked_and_shrinks_to_what_shares_the_batch() -> None:
    assert first_team(12, np=4, hosts="a:3,b:3", max_restarts=1) == ("a:3,b:1", 4)
    # 5 ranks cannot share 12 samples: the trainer is to say so, and not be given fewer.
    assert first_team(12, np=5, hosts="a:3,b:3", max_restarts=1) == ("a:3,b:2", 5)
    plan = make_plan(StartOptions(np=5, hosts="a:3,b:3", max_restarts=1), {}, 12)
    plan.membership.list_hosts(plan.ask())
    plan.membership.failed("b", 0.0, answers=False)
    team = plan.membership.choose(1.0)
    assert team is not None
    assert (str(team.hosts), team.np) == ("a:3", 3)


def test_an_elastic_run_takes_what_there_is() -> None:
    assert first_team(12, min_np=2, hosts="a:3,b:2") == ("a:3,b:1", 4)
    assert first_team(None, min_np=2, hosts="a:3,b:2") == ("a:3,b:2", 5)
    assert first_team(None, min_np=2, max_np=3, hosts="a:2,b:2") == ("a:2,b:1", 3)
    assert first_team(12, min_np=6, hosts="a:3,b:2") is None


def test_how_often_a_run_starts_again() -> None:
    def restarts(**options: Any) -> int:
        return make_plan(StartOptions(**options), {}).max_restarts

    assert restarts(np=2, max_restarts=3) == 3
    assert restarts(min_np=1, hosts="a:2") == 10
    assert restarts(min_np=1, hosts="a:2", max_restarts=0) == 0


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({"np": 2, "max_np": 3, "elastic_timeout": 5.0}, ["--max-np: ", "--elastic-timeout: "]),
        ({"np": 2, "min_np": 1}, ["--np: an elastic run has no fixed size"]),
        ({"min_np": 3, "max_np": 2}, ["--max-np: got 2, below --min-np 3"]),
        ({"host_discovery_script": Path("x"), "hosts": "a:1"}, ["--host-discovery-script: "]),
        ({"min_np": 1, "elastic_timeout": -1.0}, ["--elastic-timeout: got -1"]),
        ({"np": 2, "bind_to": "cores"}, ["--bind-to: got 'cores'; give auto, numa, core, none"]),
        ({"host_discovery_script": Path("/no/such")}, ["--host-discovery-script: /no/such: not a"]),
        ({"min_np": 1, "hosts": "no-such-host.invalid:2"}, ["--hosts: unknown host", "--min"]),
        ({"min_np": 3, "hosts": "localhost:2"}, ["--min-np: too few usable slots"]),
        ({"min_np": 13, "hosts": "localhost:20"}, ["--min-np: no number of ranks from 13 on"]),
    ],
)
def test_what_cannot_be_meant(options: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        launch_on_hosts(["true"], StartOptions(**options), JobSettings(), global_batch_size=12)
    assert len(caught.value.problems) == len(messages)
    for problem, message in zip(caught.value.problems, messages, strict=True):
        assert problem.startswith(message)
