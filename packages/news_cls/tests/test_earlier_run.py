"""A run that an earlier version wrote is read by this one: its model, its scores, its checkpoint.

`fixtures/earlier_run` is what `news-cls train` wrote before the source files moved into folders:
the saved model, the checkpoint of step 4 of 8, the data, and what that version predicted.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from news_cls.config import TrainConfig
from news_cls.testing import Run, command, run

pytestmark = pytest.mark.ranks

EARLIER = Path(__file__).parent / "fixtures" / "earlier_run"
REPORT = json.loads((EARLIER / "run" / "report.json").read_text(encoding="utf-8"))
# The same weights on another machine differ in the last digits of float32.
CLOSE = {"rel": 1e-4}


def test_its_configuration_is_of_a_network_without_subwords() -> None:
    written = json.loads((EARLIER / "run" / "config.json").read_text(encoding="utf-8"))
    assert TrainConfig.model_validate(written).subword_buckets == 0
    assert TrainConfig.model_validate({**written, "subword_buckets": 32}).subword_buckets == 32
    assert TrainConfig.model_validate({"model": "gru", "epochs": 3}).subword_buckets > 0


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A copy of the run, which may be written to."""
    return Path(shutil.copytree(EARLIER / "run", tmp_path / "run"))


def test_the_model_predicts_what_it_predicted(earlier: Path) -> None:
    expected = json.loads((EARLIER / "predictions.json").read_text(encoding="utf-8"))
    inputs = [str(EARLIER / "texts.txt")]
    done = run(earlier, command("predict", str(earlier), *inputs, "--format", "json")).check()
    found = json.loads(done.stdout)
    assert [row["text"] for row in found] == [row["text"] for row in expected]
    for row, before in zip(found, expected, strict=True):
        assert row["class"] == before["class"]
        assert row["probabilities"] == pytest.approx(before["probabilities"], **CLOSE)


def test_it_is_evaluated_to_the_same_scores(earlier: Path) -> None:
    line = command("evaluate", str(earlier), "--data", str(EARLIER / "data"))
    done = run(earlier, line).check()
    scores = json.loads(done.stdout[done.stdout.index("{") :])
    for split in ("val", "test"):
        assert scores[split]["loss"] == pytest.approx(REPORT[split]["loss"], **CLOSE)
        assert scores[split]["confusion_matrix"] == REPORT[split]["confusion_matrix"]


def resume(path: Path, *flags: str) -> Run:
    line = ["train", "--config", str(path / "config.json"), "--data", str(EARLIER / "data")]
    return run(path, command(*line, "--output-dir", str(path), "--resume", "auto", *flags))


def test_it_resumes_from_its_checkpoint(earlier: Path) -> None:
    before = Run(EARLIER / "run", 0, "", "")
    (earlier / "report.json").unlink()
    resumed = resume(earlier).check()
    assert resumed.report["steps"] == 8
    assert resumed.losses("train") == pytest.approx(before.losses("train"), **CLOSE)
    assert resumed.losses("val") == pytest.approx(before.losses("val"), **CLOSE)
    assert resumed.report["test"]["loss"] == pytest.approx(REPORT["test"]["loss"], **CLOSE)


def test_control_another_seed_does_not_resume_it(earlier: Path) -> None:
    refused = resume(earlier, "--seed", "4")
    assert refused.returncode == 2
    assert "error: seed: the checkpoint was written with 3" in refused.stderr
