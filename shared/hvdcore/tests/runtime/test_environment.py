from __future__ import annotations

from pathlib import Path

import pytest

from hvdcore.runtime import environment
from hvdcore.runtime.environment import (
    cores_available,
    prepare_environment,
    stall_timeout,
    threads_per_rank,
)
from hvdcore.runtime.world import World

ALONE = World(0, 1, 0, 1, "none")


@pytest.mark.parametrize(
    ("local_size", "cores", "threads"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (8, 8, 1), (9, 8, 1)]
)
def test_threads_are_shared_out_and_never_none(local_size: int, cores: int, threads: int) -> None:
    assert threads_per_rank(local_size, cores) == threads


def test_one_rank_gets_every_core_and_horovod_without_mpi() -> None:
    env: dict[str, str] = {}
    assert prepare_environment(ALONE, env)
    assert env["OMP_NUM_THREADS"] == env["MKL_NUM_THREADS"] == str(cores_available())
    assert env["HOROVOD_CONTROLLER"] == env["HOROVOD_CPU_OPERATIONS"] == "gloo"
    assert not prepare_environment(ALONE, env), "a second time there is nothing to add"


def test_the_users_settings_win() -> None:
    env = {"OMP_NUM_THREADS": "7", "HOROVOD_GLOO_TIMEOUT_SECONDS": "5"}
    prepare_environment(World(0, 2, 0, 2, "gloo"), env)
    assert env["OMP_NUM_THREADS"] == "7"
    assert env["HOROVOD_GLOO_TIMEOUT_SECONDS"] == "5"
    assert env["MKL_NUM_THREADS"] == "7"


def test_mpi_yields_and_keeps_its_controller() -> None:
    env: dict[str, str] = {}
    prepare_environment(World(0, 2, 0, 2, "mpi"), env)
    assert env["OMPI_MCA_mpi_yield_when_idle"] == "1"
    assert "HOROVOD_CONTROLLER" not in env


def test_gloo_waits_longer_than_the_watchdog() -> None:
    env = {"HVDCORE_STALL_TIMEOUT": "100"}
    prepare_environment(World(0, 2, 0, 2, "gloo"), env)
    assert int(env["HOROVOD_GLOO_TIMEOUT_SECONDS"]) > 2 * 100


def test_cores_that_mpirun_bound_are_not_shared_out_again() -> None:
    env = {"OMPI_MCA_orte_bound_at_launch": "1"}
    prepare_environment(World(0, 2, 0, 2, "mpi"), env)
    assert env["OMP_NUM_THREADS"] == str(cores_available())


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("nonsense\n", None)]
)
def test_container_quota(tmp_path: Path, text: str, cores: float | None) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text, encoding="ascii")
    assert environment.cgroup_cpu_quota(file) == cores
    assert environment.cgroup_cpu_quota(tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("12.5", 12.5), ("", 300.0), ("x", 300), ("-1", 300)]
)
def test_stall_timeout(text: str, seconds: float) -> None:
    assert stall_timeout({"HVDCORE_STALL_TIMEOUT": text}) == seconds


def test_a_limit_on_openmp_is_a_limit_on_all() -> None:
    env = {"OMP_NUM_THREADS": "1"}
    prepare_environment(World(0, 1, 0, 1, "none"), env)
    assert env["MKL_NUM_THREADS"] == env["TF_NUM_INTRAOP_THREADS"] == "1"
