"""The verbs on a trained model: predict, evaluate, report and compare say the same as training."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from image_cls.testing import Run, command, run, train, write_scenes

pytestmark = pytest.mark.ranks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verbs")


@pytest.fixture(scope="module")
def trained(folder: Path, scenes: Path) -> Run:
    return train(folder / "run", scenes, "--model", "mlp", "--max-steps", "30").check()


def test_evaluate_on_two_ranks_equals_the_report(folder: Path, trained: Run) -> None:
    done = run(folder, command("evaluate", str(trained.path), "--np", "2")).check()
    scores = json.loads(done.stdout[done.stdout.index("{") :])
    for split in ("val", "test"):
        there = trained.report[split]
        assert scores[split]["loss"] == pytest.approx(there["loss"], rel=1e-5)
        assert scores[split]["confusion_matrix"] == there["confusion_matrix"]


def test_predict_answers_as_evaluation_counts(folder: Path, scenes: Path, trained: Run) -> None:
    pred = folder / "seg_pred" / "seg pred"
    shutil.copytree(scenes / "seg_test" / "seg_test", pred, dirs_exist_ok=True)
    (pred / "broken.jpg").write_bytes(b"no image")
    done = run(folder, command("predict", str(trained.path), str(pred))).check()
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 26
    assert [row["skipped"] for row in rows if row["skipped"]] == ["not an image"]
    answered = [row for row in rows if not row["skipped"]]
    right = sum(row["class"] == Path(row["file"]).parent.name for row in answered)
    matrix = trained.report["test"]["confusion_matrix"]
    assert right == sum(matrix[i][i] for i in range(6))
    for row in answered:
        shares = [float(row[name]) for name in trained.report["test"]["classes"]]
        assert sum(shares) == pytest.approx(1.0, abs=1e-4)
        assert float(row["probability"]) == max(shares)


def test_evaluate_refuses_other_classes(folder: Path, trained: Run) -> None:
    others = write_scenes(folder / "others", 3, classes=4)
    done = run(folder, command("evaluate", str(trained.path), "--data", str(others)))
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]  # after what was found in the data
    assert last.startswith("error: data: its classes are bricks, furrows, pebbles, ridges,")


def test_one_rank_alone_names_all_that_is_wrong(folder: Path, scenes: Path) -> None:
    flags = ("--num-train-images", "30", "--warmup-steps", "99", "--max-steps", "9")
    done = train(folder / "wrong", scenes, *flags)
    assert (done.returncode, done.stdout) == (
        2,
        "images: train 60, val 6, test 25 in 6 classes; no test images of waves\n"
        "settings: crop_area 0.6, erase 0.0, mixup 0.0\n",
    )
    assert done.stderr.startswith("error: warmup_steps: got 99")
    assert not (folder / "wrong" / "config.json").exists()


def test_compare_trains_all(folder: Path, scenes: Path) -> None:
    flags = ("--models", "logreg", "--np", "1,2", "--max-steps", "12", "--image-size", "16")
    line = command("compare", "--data", str(scenes), "--output-dir", str(folder / "c"), *flags)
    done = run(folder, [*line, "--global-batch-size", "12"]).check()
    trials = json.loads((folder / "c" / "comparison.json").read_text(encoding="utf-8"))
    assert [(t["model"], t["size"]) for t in trials] == [
        ("logreg", 1), ("logreg", 2),
    ]  # fmt: skip
    # One model reaches the same on any number of ranks.
    assert trials[0]["test_accuracy"] == trials[1]["test_accuracy"]
    assert len([line for line in done.stdout.splitlines() if line.startswith("logreg")]) == 2
    assert (folder / "c" / "report.html").is_file()


def test_early_stopping_is_the_same_on_all_ranks(folder: Path, scenes: Path) -> None:
    # A rate so small that val never gains by more than rounding, and one that blows up.
    flags = ("--model", "logreg", "--learning-rate", "3", "--patience", "2", "--eval-every", "2")
    done = train(folder / "early", scenes, *flags, "--max-steps", "60", "--np", "2").check()
    steps = sorted(done.losses("val"))
    losses = done.losses("val")
    best = min(steps[1:], key=lambda step: losses[step])
    assert done.report["chosen_step"] == best
    assert done.report["steps"] == steps[-1] == best + 4 < 60
