"""A run does not depend on how many ranks make it, or on who starts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import find_program
from image_cls.testing import Run, train

pytestmark = pytest.mark.ranks

# 60 train images in steps of 12 would leave no tail: 53 leave one of 5, which 3 ranks cannot share
# evenly.
FLAGS = ("--max-steps", "12", "--eval-every", "6", "--num-train-images", "53")
# Sums in another order differ in the last digits, and AdamW divides by small numbers.
CLOSE = {"rel": 2e-4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def one_rank(folder: Path, scenes: Path) -> Run:
    return train(folder / "np1", scenes, *FLAGS).check()


@pytest.fixture(scope="module")
def two_ranks(folder: Path, scenes: Path) -> Run:
    return train(folder / "np2", scenes, *FLAGS, "--np", "2").check()


@pytest.mark.parametrize("size", [2, 3, pytest.param(4, marks=pytest.mark.proof)])
def test_any_number_of_ranks_trains_the_same_model(
    folder: Path, scenes: Path, one_rank: Run, two_ranks: Run, size: int
) -> None:
    flags = ("--np", str(size))
    run = two_ranks if size == 2 else train(folder / f"np{size}", scenes, *FLAGS, *flags).check()
    assert run.report["size"] == size
    assert len(run.losses("train")) == 12
    assert run.losses("train") == pytest.approx(one_rank.losses("train"), **CLOSE)
    assert run.losses("val") == pytest.approx(one_rank.losses("val"), **CLOSE)
    for split in ("train", "val", "test"):
        there, here = one_rank.report[split], run.report[split]
        assert here["loss"] == pytest.approx(there["loss"], **CLOSE)
        assert here["num_samples"] == there["num_samples"]
    assert run.report["test"]["confusion_matrix"] == one_rank.report["test"]["confusion_matrix"]


def test_control_another_seed_differs(folder: Path, scenes: Path, one_rank: Run) -> None:
    """The control: the comparison above sees a difference where there is one."""
    other = train(folder / "seed1", scenes, *FLAGS, "--seed", "1").check()
    assert other.losses("val") != pytest.approx(one_rank.losses("val"), **CLOSE)


def test_gradients_in_bfloat16_are_half_the_bytes(
    folder: Path, scenes: Path, two_ranks: Run
) -> None:
    """The rounding shows, and is small; the counts are exact."""
    flags = ("--np", "2", "--gradient-dtype", "bfloat16")
    run = train(folder / "bfloat16", scenes, *FLAGS, *flags).check()
    name = "allreduce_bytes"
    assert 2 * run.report["communication"][name] == two_ranks.report["communication"][name]
    assert run.losses("val") != pytest.approx(two_ranks.losses("val"), rel=1e-6)
    assert run.losses("val") == pytest.approx(two_ranks.losses("val"), rel=2e-2)
    assert run.report["train"]["num_samples"] == two_ranks.report["train"]["num_samples"]


# Over Gloo here is news_cls's test: the launcher is the same.
@pytest.mark.parametrize("controller", ["--mpi", pytest.param("--gloo", marks=pytest.mark.proof)])
def test_plain_horovodrun_is_the_same_run(
    folder: Path, scenes: Path, two_ranks: Run, controller: str
) -> None:
    launcher = (str(find_program("horovodrun")), "-np", "2", controller)
    run = train(folder / f"horovodrun{controller}", scenes, *FLAGS, launcher=launcher).check()
    assert run.report["size"] == 2
    assert run.report["weights_sha256"] == two_ranks.report["weights_sha256"]
    assert run.losses("val") == two_ranks.losses("val")


def test_a_run_leaves_what_it_should(two_ranks: Run) -> None:
    names = {str(p.relative_to(two_ranks.path)) for p in two_ranks.path.rglob("*")}
    wanted = {"config.json", "env.json", "metrics.jsonl", "report.json", "report.html"}
    wanted |= {"logs/rank-0.log", "logs/rank-1.log", "model/model.keras"}
    wanted |= {f"figures/{name}.png" for name in ("confusion", "mistakes", "augmentations")}
    wanted |= {f"figures/{name}.png" for name in ("loss", "accuracy")}
    assert wanted <= names
    report = two_ranks.report
    keys = "schema package model num_parameters size global_batch_size seed epochs steps seconds"
    assert set(keys.split()) | {"samples_per_second", "weights_sha256"} <= set(report)
    for split in ("train", "val", "test"):
        assert {"loss", "accuracy", "macro_f1"} <= set(report[split])
    assert len(report["weights_sha256"]) == 64
    assert report["settings"] == {"crop_area": 0.6, "erase": 0.0, "mixup": 0.0}
    assert "settings: crop_area 0.6, erase 0.0" in two_ranks.stdout
    # No test image is a wave: the class is there all the same, with nothing to find.
    assert report["test"]["classes"]["waves"]["support"] == 0
    assert sum(map(sum, report["test"]["confusion_matrix"])) == 25
