"""Which processors a rank is bound to, on machines of known shape and in real jobs on this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hvdcore.runtime import affinity
from hvdcore.runtime.affinity import Binding, Processor, rank_cpus
from hvdcore.runtime.world import World

WRITE_CPUS = """
import os, pathlib, sys
rank = os.environ.get("HOROVOD_RANK") or os.environ["OMPI_COMM_WORLD_RANK"]
pathlib.Path(sys.argv[1], rank).write_text(" ".join(map(str, os.sched_getaffinity(0))))
"""


def two_nodes() -> list[Processor]:
    """Two nodes of two cores of two hyper-threads: 0 and 4 are one core, as Linux numbers them."""
    return sorted(Processor(c // 2, c // 2, c % 2, c + 4 * t) for c in range(4) for t in (0, 1))


@pytest.mark.parametrize(
    ("binding", "size", "expected"),
    [
        ("core", 4, [{0, 4}, {1, 5}, {2, 6}, {3, 7}]),
        ("core", 2, [{0, 1, 4, 5}, {2, 3, 6, 7}]),
        ("core", 3, [{0, 4}, {1, 5}, {2, 6}]),
        ("core", 5, [None] * 5),  # fewer cores than ranks
        ("numa", 4, [{0, 1, 4, 5}, {0, 1, 4, 5}, {2, 3, 6, 7}, {2, 3, 6, 7}]),
        ("auto", 2, [{0, 1, 4, 5}, {2, 3, 6, 7}]),
        ("auto", 3, [None] * 3),  # two ranks would share a node that one has elsewhere
        ("core", 1, [None]),
        ("none", 4, [None] * 4),
    ],
)
def test_ranks_of_a_host(binding: Binding, size: int, expected: list[set[int] | None]) -> None:
    assert [rank_cpus(two_nodes(), rank, size, binding) for rank in range(size)] == expected


def test_auto_binds_nothing_on_one_node() -> None:
    one = [Processor(0, 0, core, core) for core in range(4)]
    assert rank_cpus(one, 0, 2, "auto") is None
    assert rank_cpus(one, 0, 2, "core") == {0, 1}


def test_the_shape_is_read_from_the_kernel(tmp_path: Path) -> None:
    for cpu, (node, package, core) in enumerate([(0, 0, 0), (1, 0, 1), (0, 0, 0), (1, 0, 1)]):
        folder = tmp_path / f"cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(f"{package}\n")
        (folder / "core_id").write_text(f"{core}\n")
        (tmp_path / f"node/node{node}").mkdir(parents=True, exist_ok=True)
    (tmp_path / "node/node0/cpulist").write_text("0,2\n")
    (tmp_path / "node/node1/cpulist").write_text("1,3\n")
    found = affinity.processors({0, 1, 2, 3}, tmp_path)
    assert [(p.node, p.cpu) for p in found] == [(0, 0), (0, 2), (1, 1), (1, 3)]
    assert affinity.cpu_list("0-3,8\n") == [0, 1, 2, 3, 8]


def test_a_rank_that_is_bound_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity, "cgroup_cpus", lambda: {0, 1, 2, 3})
    everything = {0, 1, 2, 3}
    assert not affinity.is_bound({}, everything)
    assert affinity.is_bound({}, {0, 1})  # taskset
    assert affinity.is_bound({"SLURM_CPU_BIND_TYPE": "mask_cpu:"}, everything)
    assert not affinity.is_bound({"SLURM_CPU_BIND_TYPE": "none"}, everything)
    assert affinity.is_bound({"OMPI_MCA_orte_bound_at_launch": "1"}, everything)


def test_a_quota_is_not_narrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed, world = {0, 1}, World(0, 2, 0, 2, "mpi")
    monkeypatch.setattr(affinity, "cgroup_cpus", lambda: allowed)
    env = {"HVDCORE_BIND_TO": "core"}
    assert affinity._cpus(world, env, allowed) == {0}
    monkeypatch.setattr(affinity, "cgroup_cpu_quota", lambda: 1.5)
    assert affinity._cpus(world, env, allowed) is None


def test_real_ranks_have_cores_of_their_own(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    cores = {(p.node, p.package, p.core) for p in affinity.processors(allowed)}
    if len(cores) < 2 or affinity.is_bound(os.environ, allowed):
        pytest.skip("one core, or this test is bound itself")
    first, second = rank_processors("core", tmp_path)
    assert first
    assert second
    assert not first & second
    assert rank_processors("none", tmp_path) == [allowed] * 2  # the control


def rank_processors(binding: str, folder: Path) -> list[set[int]]:
    launch = [sys.executable, "-m", "hvdcore", "launch", "--np", "2", "--bind-to", binding]
    rank = [sys.executable, "-c", WRITE_CPUS, str(folder)]
    done = subprocess.run([*launch, *rank], capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [set(map(int, (folder / name).read_text().split())) for name in ("0", "1")]
