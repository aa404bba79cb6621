"""A run does not depend on how many ranks make it, or on who starts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import find_program
from news_cls.testing import Run, train

pytestmark = pytest.mark.ranks

# 53 train texts in steps of 12 leave a tail of 5, which 3 ranks cannot share evenly.
FLAGS = ("--max-steps", "12", "--eval-every", "6", "--num-train-texts", "53")
# Sums in another order differ in the last digits, and Adam divides by small numbers.
CLOSE = {"rel": 5e-4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def one_rank(folder: Path, texts: Path) -> Run:
    return train(folder / "np1", texts, *FLAGS).check()


@pytest.fixture(scope="module")
def two_ranks(folder: Path, texts: Path) -> Run:
    return train(folder / "np2", texts, *FLAGS, "--np", "2").check()


@pytest.mark.parametrize("size", [2, 3, pytest.param(4, marks=pytest.mark.proof)])
def test_any_number_of_ranks_trains_the_same_model(
    folder: Path, texts: Path, one_rank: Run, two_ranks: Run, size: int
) -> None:
    flags = ("--np", str(size))
    run = two_ranks if size == 2 else train(folder / f"np{size}", texts, *FLAGS, *flags).check()
    assert run.report["size"] == size
    assert len(run.losses("train")) == 12
    assert run.losses("train") == pytest.approx(one_rank.losses("train"), **CLOSE)
    assert run.losses("val") == pytest.approx(one_rank.losses("val"), **CLOSE)
    for split in ("train", "val", "test"):
        there, here = one_rank.report[split], run.report[split]
        assert here["loss"] == pytest.approx(there["loss"], **CLOSE)
        assert here["num_samples"] == there["num_samples"]


@pytest.mark.parametrize("size", ["2", pytest.param("3", marks=pytest.mark.proof)])
@pytest.mark.parametrize("model", ["lstm", "cnn"])
def test_the_other_models_too(folder: Path, texts: Path, model: str, size: str) -> None:
    flags = (*FLAGS, "--model", model)
    first, second = (
        train(folder / f"{model}{size}-np{np}", texts, *flags, "--np", np).check()
        for np in ("1", size)
    )
    assert second.losses("val") == pytest.approx(first.losses("val"), **CLOSE)


def test_in_bfloat16_it_learns_nearly_the_same(folder: Path, texts: Path) -> None:
    """What a GPU computes in, from the pretraining on; on two ranks against one."""
    flags = (*FLAGS, "--learning-rate", "0.03", "--dtype")
    whole, half = (
        train(folder / dtype, texts, *flags, dtype, "--np", size).check().losses("train")
        for dtype, size in (("float32", "1"), ("bfloat16", "2"))
    )
    assert whole[1] - whole[12] > 0.2
    assert half[12] == pytest.approx(whole[12], rel=0.05)
    assert half != pytest.approx(whole, **CLOSE)  # more than the order of sums


def test_control_another_seed_differs(folder: Path, texts: Path, one_rank: Run) -> None:
    """The control: the comparison above sees a difference where there is one."""
    other = train(folder / "seed1", texts, *FLAGS, "--seed", "1").check()
    assert other.losses("val") != pytest.approx(one_rank.losses("val"), **CLOSE)


# Over MPI here is image_cls's test: the launcher is the same.
@pytest.mark.parametrize("controller", ["--gloo", pytest.param("--mpi", marks=pytest.mark.proof)])
def test_plain_horovodrun_is_the_same_run(
    folder: Path, texts: Path, two_ranks: Run, controller: str
) -> None:
    launcher = (str(find_program("horovodrun")), "-np", "2", controller)
    run = train(folder / f"horovodrun{controller}", texts, *FLAGS, launcher=launcher).check()
    assert run.report["size"] == 2
    assert run.report["weights_sha256"] == two_ranks.report["weights_sha256"]
    assert run.losses("val") == two_ranks.losses("val")


def test_a_run_leaves_what_it_should(two_ranks: Run) -> None:
    names = {str(p.relative_to(two_ranks.path)) for p in two_ranks.path.rglob("*")}
    wanted = {"config.json", "env.json", "metrics.jsonl", "report.json", "report.html"}
    wanted |= {"logs/rank-0.log", "logs/rank-1.log", "model/model.keras", "mistakes.md"}
    wanted |= {f"figures/{name}.png" for name in ("confusion", "reliability", "loss", "accuracy")}
    assert wanted <= names
    report = two_ranks.report
    keys = "schema package model num_parameters size global_batch_size seed epochs steps seconds"
    assert set(keys.split()) | {"samples_per_second", "weights_sha256"} <= set(report)
    for split in ("train", "val", "test"):
        assert {"loss", "accuracy", "macro_f1"} <= set(report[split])
    assert sum(map(sum, report["test"]["confusion_matrix"])) == 25
