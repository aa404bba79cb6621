from __future__ import annotations

import pytest

from hvdcore.errors import UserError
from hvdcore.runtime.world import World, check_size, world_from_environment

ALONE = World(0, 1, 0, 1, "none")


def gloo(
    rank: str = "1", size: str = "4", local: str = "1", local_size: str = "2"
) -> dict[str, str]:
    return {
        "HOROVOD_RANK": rank,
        "HOROVOD_SIZE": size,
        "HOROVOD_LOCAL_RANK": local,
        "HOROVOD_LOCAL_SIZE": local_size,
    }


def slurm(**more: str) -> dict[str, str]:
    return {
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": "3",
        "SLURM_STEP_NUM_TASKS": "5",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
        "PMIX_RANK": "3",
        **more,
    }


def test_no_launcher_is_one_rank() -> None:
    assert world_from_environment({}) == ALONE
    assert ALONE.is_root


def test_horovodrun_over_gloo() -> None:
    world = world_from_environment(gloo())
    assert world == World(1, 4, 1, 2, "gloo")
    assert not world.is_root


def test_mpirun() -> None:
    names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    env = {f"OMPI_COMM_WORLD_{n}": v for n, v in zip(names, "3412", strict=True)}
    assert world_from_environment({**env, "OMPI_COMM_WORLD_RANK": "3"}) == World(3, 4, 1, 2, "mpi")


def test_srun_task() -> None:
    assert world_from_environment(slurm()) == World(3, 5, 1, 2, "mpi")


@pytest.mark.parametrize(("node", "local_size"), [("0", 2), ("1", 2), ("2", 1)])
def test_srun_tasks_per_node(node: str, local_size: int) -> None:
    env = slurm(SLURM_NODEID=node, SLURM_LOCALID="0")
    assert world_from_environment(env).local_size == local_size


def test_batch_script_is_no_rank() -> None:
    env = slurm()
    del env["SLURM_STEP_ID"]
    assert world_from_environment(env) == ALONE
    assert world_from_environment(slurm(SLURM_STEP_ID=str(0xFFFFFFFA))) == ALONE


@pytest.mark.parametrize("more", [{}, {"PMI_RANK": "0", "PMI_SIZE": "1"}, {"SLURM_PTY_PORT": "1"}])
def test_a_step_of_one_task_is_no_launcher(more: dict[str, str]) -> None:
    """As inside `srun --pty bash`."""
    one = slurm(SLURM_STEP_NUM_TASKS="1", SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0")
    env = {**one, "SLURM_STEP_TASKS_PER_NODE": "1", "PMIX_RANK": "0", **more}
    assert world_from_environment(env) == ALONE
    ranks = {**env, **gloo()}
    assert world_from_environment(ranks).size == 4, "control: ranks that were started there"


def test_srun_without_pmi_cannot_work() -> None:
    env = slurm()
    del env["PMIX_RANK"]
    with pytest.raises(UserError, match="srun --mpi=pmix"):
        world_from_environment(env)


@pytest.mark.parametrize("env", [gloo(rank="4"), gloo(local="2"), gloo(size="x"), gloo(rank="-1")])
def test_broken_variables_are_the_users_error(env: dict[str, str]) -> None:
    with pytest.raises(UserError, match="HOROVOD_"):
        world_from_environment(env)


def test_two_asked_one_got() -> None:
    check_size(World(0, 2, 0, 2, "gloo"), 2)
    check_size(ALONE, None)
    with pytest.raises(UserError, match="asked for 2 ranks, but the launcher started 1"):
        check_size(ALONE, 2)
