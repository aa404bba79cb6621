"""`image-cls tune`: real trials, the best one's file, and a tuner that is ended."""

from __future__ import annotations

import json
import math
import secrets
import signal
import subprocess
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvdcore.config import load_config
from hvdcore.testing.ranks import TEST_MARKER, orphans
from hvdcore.tune.space import Float, check_space
from image_cls.cli import app
from image_cls.config import MODELS, TrainConfig
from image_cls.model import LEARNING_RATES
from image_cls.search_space import search_space
from image_cls.testing import TINY, command, environment

pytest.importorskip("optuna", reason="the extra image_cls[tune] is not installed")


def line(folder: Path, scenes: Path, *flags: str) -> list[str]:
    """A search with the tiny images; `tune` takes the flags that all trainers share only."""
    pairs = zip(TINY[::2], TINY[1::2], strict=True)
    fields = {flag.removeprefix("--").replace("-", "_"): value for flag, value in pairs}
    config = load_config(TrainConfig, None, {**fields, "model": "logreg", "weight_decay": 0.1})
    file = folder / "tiny.json"
    file.write_text(json.dumps(config.model_dump()), encoding="utf-8")
    shared = ["--config", str(file), "--data", str(scenes), "--output-dir", str(folder / "study")]
    return command("tune", *shared, *flags)


@pytest.mark.ranks
def test_two_trials_at_a_time(tmp_path: Path, scenes: Path) -> None:
    flags = ("--max-steps", "4", "--eval-every", "2", "--trials", "2", "--objective", "accuracy")
    flags += ("--parallel-trials", "2")
    ended = subprocess.run(
        line(tmp_path, scenes, *flags), env=environment(tmp_path / "cache"),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    out = tmp_path / "study"
    found = json.loads((out / "tuning.json").read_text(encoding="utf-8"))
    assert [row["state"] for row in found["trials"]] == ["complete", "complete"]
    for row in found["trials"]:
        metrics = (out / row["run"] / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        points = [v for v in map(json.loads, metrics) if v["split"] == "val" and v["step"]]
        assert row["value"] == max(v["accuracy"] for v in points)
        assert json.loads((out / row["run"] / "report.json").read_text())["size"] == 1
    best = found["trials"][found["best"]]
    trained = json.loads((out / best["run"] / "config.json").read_text(encoding="utf-8"))
    assert load_config(TrainConfig, out / "best.toml").model_dump() == trained


@pytest.mark.ranks
@pytest.mark.proof
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_tuner_that_is_ended_leaves_checkpoints_and_no_process(
    tmp_path: Path, scenes: Path, number: int
) -> None:
    marker = secrets.token_hex(8)
    flags = ("--max-steps", "100000", "--eval-every", "50", "--trials", "2", "--np", "2")
    process = subprocess.Popen(
        line(tmp_path, scenes, *flags),
        env={**environment(tmp_path / "cache"), TEST_MARKER: marker},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    run = tmp_path / "study" / "trials" / "0000"
    deadline = time.monotonic() + 300
    while not list((run / "checkpoints").glob("step-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    before = max((run / "checkpoints").glob("step-*"))
    process.send_signal(number)
    assert process.wait(120) == (143 if number == signal.SIGTERM else -number)
    assert not orphans(marker, within=60)
    assert max((run / "checkpoints").glob("step-*")) > before


@pytest.mark.parametrize("model", MODELS)
def test_the_space_lies_within_the_configuration(model: str) -> None:
    """And about the model's own learning rate."""
    flags = {"model": model, "weights": "imagenet" if model == "mobilenet" else None}
    space = search_space(load_config(TrainConfig, None, flags))
    check_space(space, TrainConfig, None, flags)
    assert ("mixup" in space) == (model in ("cnn", "mobilenet"))
    rate = space["learning_rate"]
    assert isinstance(rate, Float)
    assert math.sqrt(rate.low * rate.high) == pytest.approx(LEARNING_RATES[model])


def test_what_all_trials_share_is_checked_before_the_first(tmp_path: Path, scenes: Path) -> None:
    flags = ["tune", "--data", str(scenes), "--output-dir", str(tmp_path / "study")]
    result = CliRunner().invoke(app, [*flags, "--np", "2", "--global-batch-size", "7"])
    assert result.exit_code == 2
    *_, last = result.output.splitlines()
    assert last.startswith("error: global_batch_size: 7 cannot be divided")
    assert not (tmp_path / "study").exists()
