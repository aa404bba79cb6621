"""The page about runs: what a reader finds on it, and paths where it cannot be written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.run.run_dir import RunDir
from textgen.evaluation.report import FIGURES, report_runs


def finished_run(path: Path, loss: float, sample: str) -> Path:
    """A run directory as training leaves it, with figures that are easy to find on the page."""
    run = RunDir.create(path, "textgen", {"data": "<sample>"})
    for step in (10, 20):
        times = {f"{phase}_seconds": 0.1 for phase in ("data", "compute", "update", "communicate")}
        times |= {"peak_memory_mb": 400.0, "model_flop_utilization": 0.3}
        row = {"loss": loss, "gradient_norm": 1.0, "learning_rate": 0.1, "tokens_per_second": 9.0}
        run.append_metrics({"step": step, "epoch": 0, "split": "train", **row, **times})
        run.append_metrics({"step": step, "epoch": 0, "split": "val", "loss": loss,
                            "bits_per_byte": loss})  # fmt: skip
    score = {"loss": loss, "perplexity": 2.0, "bits_per_byte": loss}
    report = {
        "model": "1m",
        "size": 2,
        "step_seconds": {
            "data_seconds": 0.001,
            "compute_seconds": 0.02,
            "update_seconds": 0.003,
            "communicate_seconds": 0.00456,
        },
        "peak_memory_mb": 456.7,
        "model_flop_utilization": 0.3274,
        "peak_flops_per_second": 1.234e11,
        "peak_flops_source": "measured",
        "train_flops_per_token": 6291456,
        "num_parameters": 918912,
        "weights_sha256": "ab" * 32,
    }
    run.write_json("report.json", {**report, "val": score, "sample": sample})
    return path


def shown(page: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8")))


def test_a_run_has_its_scores_text_and_curves(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", 1.2345, "A <cat> sat.")
    page = report_runs([run], None)
    text = shown(page)
    assert "run val 1.2345 2.00 1.234" in text
    assert "run model 1m parameters 918,912 ranks 2 global batch - steps -" in text
    assert "run 20.00 3.00 4.56 1.00" in text  # compute, update, communicate, data
    assert "peak memory of a rank, MB 457" in text
    assert "FLOP per token, forward and backward 6,291,456 peak GFLOP/s, all ranks 123.4" in text
    assert (
        "source of the peak measured model FLOP utilization 32.7% seed - weights abababababab"
        in text
    )
    assert "A &lt;cat&gt; sat." in text
    drawn = {path.name for path in (run / "figures").iterdir()}
    assert drawn == {f"{figure.file}.png" for figure in FIGURES}
    assert page.read_text().count("data:image/png;base64,") == len(FIGURES)


def test_runs_of_one_name_have_distinct_labels(tmp_path: Path) -> None:
    first = finished_run(tmp_path / "a" / "run", 1.5, "One.")
    second = finished_run(tmp_path / "b" / "run", 2.5, "Two.")
    text = shown(report_runs([first, second], tmp_path / "both"))
    assert "a/run val 1.5000" in text
    assert "b/run val 2.5000" in text
    assert "Sample of a/run One." in text
    assert not list((first / "figures").iterdir())  # a page elsewhere leaves the runs alone


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", 1.0, "")
    with pytest.raises(UserError, match="several runs need --output-dir"):
        report_runs([run, run], None)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/page: cannot write: a part of the path is a file"):
        report_runs([run], tmp_path / "file" / "page")
    (run / "report.json").write_text("{")
    with pytest.raises(UserError, match=r"report\.json: not valid JSON"):
        report_runs([run], None)
    (run / "report.json").unlink()
    with pytest.raises(UserError, match="finish the training first"):
        report_runs([run], None)


def test_the_report_of_a_run_survives_being_written_again(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", 1.0, "Kept.")
    assert json.loads((run / "report.json").read_text())["sample"] == "Kept."
    once = report_runs([run], None).read_text()
    assert report_runs([run], None).read_text() == once
