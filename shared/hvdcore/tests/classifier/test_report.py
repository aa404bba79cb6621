"""Pages about runs and comparisons of them, with scores written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvdcore.classifier.commands import write_report_page
from hvdcore.classifier.compare import (
    Trial,
    comparison_table,
    efficiency,
    speedup,
    write_comparison,
)
from hvdcore.classifier.config import SampleNames
from hvdcore.classifier.figures import draw_confusion, draw_reliability
from hvdcore.errors import UserError
from hvdcore.run.run_dir import RunDir

SAMPLE_NAMES = SampleNames("ice_images", "image")
ODD_NAMES = ("海", "<b>forest</b>", "a rather long name of a class")


def is_drawn(path: Path) -> bool:
    with Image.open(path) as image:
        return len(image.convert("L").getcolors(1 << 24) or ()) > 10


def test_figures_are_deterministic_for_any_names(tmp_path: Path) -> None:
    matrix = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 9]])
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]])
    for name in ("first", "second"):
        draw_confusion(tmp_path / name / "c.png", matrix, ODD_NAMES, "test")
        draw_reliability(tmp_path / name / "r.png", probabilities, np.array([0, 2]), "test")
    for name in ("c.png", "r.png"):
        assert is_drawn(tmp_path / "first" / name)
        first, second = (tmp_path / run / name for run in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def finished_run(path: Path, model: str = "cnn", size: int = 1, speed: float = 100.0) -> RunDir:
    """A run as training leaves it, with scores by hand."""
    run = RunDir.create(path, "ice_images", {"model": model})
    scores = {
        "loss": 0.5, "accuracy": 0.75, "macro_f1": 0.7, "num_samples": 4,
        "classes": {
            "sea": {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 2},
            "<i>ice</i>": {"precision": 2 / 3, "recall": 1.0, "f1": 0.8, "support": 2},
        },
        "confusion_matrix": [[1, 1], [0, 2]],
    }  # fmt: skip
    report = {
        "schema": 1, "package": "ice_images", "model": model, "num_parameters": 1234, "size": size,
        "global_batch_size": 32, "seed": 0, "epochs": 2, "steps": 20, "seconds": 60.0 / size,
        "samples_per_second": speed, "weights_sha256": "0" * 64, "num_train_samples": 320,
        "val": scores, "test": scores,
    }  # fmt: skip
    run.write_json("report.json", report)
    for step in (0, 10, 20):
        values = {"loss": 1.0, "accuracy": step / 40, "seconds": 3.0 * step / size}
        run.append_metrics({"step": step, "epoch": step // 10, "split": "val", **values})
    return run


def test_a_page_about_one_run(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    Image.new("RGB", (8, 8)).save(run.figures / "confusion.png")
    page = write_report_page(SAMPLE_NAMES, [run.path], None).read_text(encoding="utf-8")
    for text in ("0.7500", "0.667", "1,234", "&lt;i&gt;ice&lt;/i&gt;", "Confusion matrix"):
        assert text in page
    assert "<i>ice" not in page
    assert is_drawn(run.figures / "accuracy.png")


def test_a_page_about_several_runs_needs_an_output_dir(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path / name).path for name in ("a", "b")]
    with pytest.raises(UserError, match="several runs need --output-dir"):
        write_report_page(SAMPLE_NAMES, runs, None)
    page = write_report_page(SAMPLE_NAMES, runs, tmp_path / "both").read_text(encoding="utf-8")
    assert "Classes on test of a" in page
    assert "Classes on test of b" in page


def test_an_unfinished_run_is_an_error(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "ice_images", {})
    with pytest.raises(UserError, match=r"no report\.json; finish the training"):
        write_report_page(SAMPLE_NAMES, [run.path], None)


def test_speedup_and_efficiency_by_hand(tmp_path: Path) -> None:
    trials = [
        Trial.of(finished_run(tmp_path / f"{model}{size}", model, size, speed))
        for model, size, speed in (
            ("cnn", 1, 100.0), ("cnn", 2, 150.0), ("mlp", 2, 80.0), ("mlp", 4, 120.0),
        )
    ]  # fmt: skip
    assert [speedup(t, trials) for t in trials] == [1.0, 1.5, 1.0, 1.5]
    assert [efficiency(t, trials) for t in trials] == [1.0, 0.75, 1.0, 0.75]
    assert trials[1].curve == ((0.0, 0.0), (15.0, 0.25), (30.0, 0.5))
    header, first, *_ = comparison_table(trials, SAMPLE_NAMES)
    assert dict(zip(header, first, strict=True)) == {
        "model": "cnn", "ranks": "1", "parameters": "1,234", "test accuracy": "0.7500",
        "seconds": "60.0", "images/s": "100", "speedup": "1.00", "efficiency": "1.00",
    }  # fmt: skip
    page = write_comparison(tmp_path / "out", trials, SAMPLE_NAMES)
    assert "1.50" in page.read_text(encoding="utf-8")
    assert is_drawn(tmp_path / "out" / "figures" / "comparison.png")
    saved = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert [row["size"] for row in saved] == [1, 2, 2, 4]


def test_a_run_too_short_for_a_speed_has_no_speedup(tmp_path: Path) -> None:
    trial = Trial.of(finished_run(tmp_path / "run", speed=0.0))
    assert speedup(trial, [trial]) is None
    assert comparison_table([trial], SAMPLE_NAMES)[1][-2:] == ["-", "-"]


def test_the_matrix_of_a_thousand_classes_is_an_image_of_bounded_size(tmp_path: Path) -> None:
    """With a row of text for each class it was wider than Matplotlib can draw."""
    sizes = {}
    for count in (4, 41, 1000):
        names = [f"class {number}" for number in range(count)]
        path = draw_confusion(tmp_path / "c.png", np.eye(count, dtype=np.int64), names, "test")
        with Image.open(path) as image:
            sizes[count] = image.size
    assert sizes[1000] == sizes[41]
    assert sizes[4][0] < sizes[41][0] < 5000
