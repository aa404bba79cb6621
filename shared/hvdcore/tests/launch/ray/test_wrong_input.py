"""What is wrong with the options of a job on Ray, or with the cluster, is reported in one line."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hvdcore.errors import UserError
from hvdcore.launch.job.job import JobSettings
from hvdcore.launch.launch import launch_on_hosts
from hvdcore.launch.options import StartOptions
from hvdcore.launch.ray.launch import amounts


def problems(settings: JobSettings | None = None, **options: Any) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        launch_on_hosts(["true"], StartOptions(**options), settings or JobSettings())
    return caught.value.problems


@pytest.mark.parametrize(
    ("options", "heads"),
    [
        ({"ray": "auto", "hosts": "a:1"}, ["--ray: Ray knows its nodes"]),
        ({"ray": "auto", "hostfile": Path("x")}, ["--ray: Ray knows its nodes"]),
        ({"np": 2, "cpus_per_rank": 2, "gpus_per_rank": 1}, ["--cpus-per-rank", "--gpus-per-rank"]),
        ({"ray": "auto", "gpus_per_rank": 2}, ["--gpus-per-rank: got 2; a rank uses one"]),
        ({"ray": "auto", "np": 2, "max_np": 2}, ["--max-np: give --min-np"]),
        ({"ray": "auto", "np": 2, "elastic_timeout": -1.0}, ["--elastic-timeout: got -1"]),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], heads: list[str]) -> None:
    found = problems(**options)
    assert len(found) == len(heads)
    assert all(text.startswith(head) for text, head in zip(found, heads, strict=True))


def test_ranks_on_ray_do_not_talk_mpi() -> None:
    assert problems(JobSettings("mpi"), ray="auto", np=2)[0].startswith("--controller: ")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    text = "--ray: Ray is not installed; pip install './shared/hvdcore[ray]'"
    assert problems(ray="auto", np=2) == (text,)


def test_addresses_where_there_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="the extra hvdcore[ray] is not installed")
    with socket.socket() as probe:  # bound, and nobody listens
        probe.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{probe.getsockname()[1]}"
        assert problems(ray=nobody, np=2)[0].startswith(f"--ray: no Ray cluster at {nobody} (")
        monkeypatch.setenv("RAY_ADDRESS", nobody)
        assert problems(ray="auto", np=2)[0].startswith(f"--ray: no Ray cluster at {nobody} (")
    for address in ("ray://127.0.0.1:10001", "nonsense"):
        (text,) = problems(ray=address, np=2)
        assert text.startswith(f"--ray: no Ray cluster at {address} (not a HOST:PORT); give ")


@pytest.mark.proof
def test_somebody_who_never_answers_is_given_up() -> None:
    """Ray's own call, some 40 s, comes back first. In a process: it leaves Ray half set up."""
    pytest.importorskip("ray", reason="the extra hvdcore[ray] is not installed")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        program = f"""
from hvdcore.errors import UserError
from hvdcore.launch.ray import connection
connection._ANSWER_SECONDS = 5
try:
    with connection.connected({address!r}):
        pass
except UserError as error:
    print(error)
"""
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=True
        )
    assert done.stdout.startswith(f"--ray: no Ray cluster at {address} (no answer within 5 s); ")


def test_what_ray_keeps_for_a_rank() -> None:
    assert amounts(StartOptions(ray="auto"), {"CPU": 4.0}) == {"CPU": 1}
    assert amounts(StartOptions(ray="auto"), {"CPU": 4.0, "GPU": 2.0}) == {"CPU": 1, "GPU": 1}
    given = StartOptions(ray="auto", cpus_per_rank=3, gpus_per_rank=0)
    assert amounts(given, {"CPU": 4.0, "GPU": 2.0}) == {"CPU": 3}


def test_room_for_ranks_on_a_node() -> None:
    pytest.importorskip("ray", reason="the extra hvdcore[ray] is not installed")
    from hvdcore.launch.ray.cluster import room

    assert room({"CPU": 2}, {"CPU": 5.0}) == 2
    assert room({"CPU": 1, "GPU": 1}, {"CPU": 8.0, "GPU": 3.0}) == 3
    assert room({"CPU": 1, "GPU": 1}, {"CPU": 8.0}) == 0
