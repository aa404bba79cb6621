"""What a job asks of Slurm: what is refused, all at once, and what is taken."""

from __future__ import annotations

from typing import Any

import pytest

from hvdcore.errors import Problems, UserError
from hvdcore.launch.sbatch.request import Request


def problems(**given: Any) -> list[str]:
    """The fields that are refused."""
    found = Problems()
    Request(**{"time": "1:00:00", **given}).check(found)
    try:
        found.raise_if_any()
    except UserError as error:
        return [line.split(":")[0] for line in error.problems]
    return []


@pytest.mark.parametrize(
    "time", ["3", "2:01", "0:02:01", "4:00:00", "90", "1-0", "0-1", "2-12:30", "1-00:00:01"]
)
def test_times_that_slurm_knows(time: str) -> None:
    assert problems(time=time) == []


@pytest.mark.parametrize(
    "time", ["", "0", "2", "2:00", "0:02:00", "0-0", "4h", "1:2:3:4", "1-", "-1", "infinite", "٣"]
)
def test_times_that_it_does_not_know_or_that_leave_none_to_train(time: str) -> None:
    assert problems(time=time) == ["--time"]


@pytest.mark.parametrize("array", ["0", "0-4", "1,3,7", "0-9:3", "0-9%2", "0-1,5,7-9%1"])
def test_arrays(array: str) -> None:
    assert problems(array=array) == []


@pytest.mark.parametrize("array", ["", "a", "4-0", "0-", "-1", "0,,1", "0-4%0", "0-4%", "0 1"])
def test_arrays_that_are_none(array: str) -> None:
    assert problems(array=array) == ["--array"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    found = problems(
        time="soon", nodes=0, ranks_per_node=0, cpus_per_rank=-1, gpus_per_node="many",
        partition="a b", account="$(x)", container=" ", more=("mem=1G", "--signal=TERM", "--x='y'"),
    )  # fmt: skip
    assert found == [
        "--nodes", "--ranks-per-node", "--cpus-per-rank", "--partition", "--account",
        "--gpus-per-node", "--container", "--time", "--sbatch", "--sbatch", "--sbatch",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "tasks"),
    [
        ({}, 1),
        ({"gpus_per_node": "4"}, 4),
        ({"gpus_per_node": "a100:2"}, 2),
        ({"gpus_per_node": "4", "ranks_per_node": 8}, 8),
    ],
)
def test_a_rank_for_each_gpu(given: dict[str, Any], tasks: int) -> None:
    assert problems(**given) == []
    assert Request("1:00:00", **given).tasks_per_node == tasks
