"""A run does not depend on how many ranks make it, or on who starts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import find_program
from textgen.testing import Run, train, write_book

pytestmark = pytest.mark.ranks

FLAGS = ("--max-steps", "12", "--eval-every", "6", "--log-every", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def book(folder: Path) -> Path:
    return write_book(folder / "book.txt")


@pytest.fixture(scope="module")
def one_rank(folder: Path, book: Path) -> Run:
    return train(folder / "np1", book, *FLAGS).check()


@pytest.fixture(scope="module")
def two_ranks(folder: Path, book: Path) -> Run:
    return train(folder / "np2", book, *FLAGS, "--np", "2").check()


@pytest.mark.parametrize("size", [2, 3, pytest.param(4, marks=pytest.mark.proof)])
def test_any_number_of_ranks_trains_the_same_model(
    folder: Path, book: Path, one_rank: Run, two_ranks: Run, size: int
) -> None:
    flags = ("--np", str(size))
    run = two_ranks if size == 2 else train(folder / f"same{size}", book, *FLAGS, *flags).check()
    assert run.report["size"] == size
    assert len(run.losses("train")) == 12
    assert run.losses("train") == pytest.approx(one_rank.losses("train"), rel=1e-5)
    assert run.losses("val") == pytest.approx(one_rank.losses("val"), abs=1e-5)
    for split in ("train", "val", "test"):
        assert run.report[split]["loss"] == pytest.approx(one_rank.report[split]["loss"], abs=1e-5)
        assert run.report[split]["num_tokens"] == one_rank.report[split]["num_tokens"]


def test_step_times_and_hardware_utilization(one_rank: Run, two_ranks: Run) -> None:
    kinds = ("data", "compute", "update", "communicate")
    for run in (one_rank, two_ranks):
        seconds = [run.values("train", f"{kind}_seconds") for kind in kinds]
        speed = run.values("train", "tokens_per_second")
        for step in range(1, 13):
            total = sum(phase[step] for phase in seconds)
            assert 12 * 16 / total == pytest.approx(speed[step])
        report = run.report
        share = report["tokens_per_second"] * report["train_flops_per_token"]
        share /= report["peak_flops_per_second"]
        assert report["model_flop_utilization"] == pytest.approx(share)
        assert report["peak_memory_mb"] >= max(run.values("train", "peak_memory_mb").values()) > 50
        assert min(run.values("train", "model_flop_utilization").values()) > 0
    assert set(one_rank.values("train", "communicate_seconds").values()) == {0.0}
    assert two_ranks.report["step_seconds"]["communicate_seconds"] > 0
    assert two_ranks.report["step_seconds"]["update_seconds"] > 0


def test_control_another_seed_differs(folder: Path, book: Path, one_rank: Run) -> None:
    """The control: the comparison above sees a difference where there is one."""
    other = train(folder / "seed1", book, *FLAGS, "--seed", "1").check()
    assert other.losses("val") != pytest.approx(one_rank.losses("val"), abs=1e-5)


# Over MPI the next test starts the same ranks, and image_cls's tests use horovodrun.
@pytest.mark.parametrize("controller", ["--gloo", pytest.param("--mpi", marks=pytest.mark.proof)])
def test_plain_horovodrun_is_the_same_run(
    folder: Path, book: Path, two_ranks: Run, controller: str
) -> None:
    launcher = (str(find_program("horovodrun")), "-np", "2", controller)
    run = train(folder / f"horovodrun{controller}", book, *FLAGS, launcher=launcher).check()
    assert run.report["size"] == 2
    if controller == "--mpi":
        assert run.report["weights_sha256"] == two_ranks.report["weights_sha256"]
    assert run.losses("val") == pytest.approx(two_ranks.losses("val"), abs=1e-5)


def test_plain_mpirun_is_the_same_run(folder: Path, book: Path, two_ranks: Run) -> None:
    launcher = (str(find_program("mpirun")), "-np", "2", "--oversubscribe")
    run = train(folder / "mpirun", book, *FLAGS, launcher=launcher).check()
    assert run.report["weights_sha256"] == two_ranks.report["weights_sha256"]


def test_accumulation_is_the_same_run(folder: Path, book: Path, one_rank: Run) -> None:
    run = train(folder / "micro", book, *FLAGS, "--per-rank-batch-size", "3").check()
    assert run.losses("val") == pytest.approx(one_rank.losses("val"), abs=1e-5)


def test_gradients_in_bfloat16_are_half_the_bytes(folder: Path, book: Path, two_ranks: Run) -> None:
    """The run itself compares the ranks' weights at its end; the rounding shows, and is small."""
    flags = (*FLAGS, "--np", "2", "--gradient-dtype", "bfloat16", "--no-hierarchical")
    run = train(folder / "bfloat16", book, *flags).check()
    halved, full = run.report["communication"], two_ranks.report["communication"]
    assert (halved.pop("hierarchical"), full.pop("hierarchical")) == (False, True)
    assert json.loads((run.path / "config.json").read_text())["hierarchical"] is False
    assert all(2 * halved[name] == full[name] for name in full)
    assert run.losses("val")[12] != pytest.approx(two_ranks.losses("val")[12], abs=1e-6)
    assert run.losses("val")[12] == pytest.approx(two_ranks.losses("val")[12], abs=1e-2)
    assert two_ranks.losses("val")[0] - two_ranks.losses("val")[12] > 0.1


def test_the_training_temperature_is_for_training_alone(
    folder: Path, book: Path, one_rank: Run
) -> None:
    run = train(folder / "cool", book, *FLAGS, "--train-temperature", "0.5").check()
    assert run.losses("val")[0] == one_rank.losses("val")[0]
    assert run.losses("train")[12] != pytest.approx(one_rank.losses("train")[12], abs=1e-3)


def test_fewer_ranks_than_asked_for_is_an_error(folder: Path, book: Path) -> None:
    launcher = (str(find_program("mpirun")), "-np", "2", "--oversubscribe")
    run = train(folder / "three", book, *FLAGS, "--np", "3", launcher=launcher)
    assert run.returncode == 2
    assert "asked for 3 ranks" in run.stderr
