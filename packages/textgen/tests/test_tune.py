"""`textgen tune`: real trials on two ranks each, the poor one stopped, and the best one's file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hvdcore.config import load_config
from hvdcore.tune.space import check_space
from textgen.cli import app
from textgen.config import TrainConfig
from textgen.search_space import TUNABLE, search_space
from textgen.testing import TINY, command, environment, write_book

pytest.importorskip("optuna", reason="the extra textgen[tune] is not installed")


def config_file(folder: Path, **changes: Any) -> Path:
    """The tiny model as a file; `tune` takes the flags that all trainers share only."""
    pairs = zip(TINY[::2], TINY[1::2], strict=True)
    fields = {flag.removeprefix("--").replace("-", "_"): value for flag, value in pairs}
    path = folder / "tiny.json"
    path.write_text(json.dumps(load_config(TrainConfig, None, fields | changes).model_dump()))
    return path


@pytest.mark.ranks
def test_two_trials_on_two_ranks(tmp_path: Path) -> None:
    book = write_book(tmp_path / "book.txt", num_words=2000)
    out = tmp_path / "study"
    flags = ["--data", str(book), "--output-dir", str(out), "--max-steps", "6", "--np", "2"]
    flags += ["--eval-every", "3", "--trials", "2", "--objective", "bits_per_byte"]
    ended = subprocess.run(
        command("tune", "--config", str(config_file(tmp_path)), *flags),
        env=environment(tmp_path / "cache"), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found = json.loads((out / "tuning.json").read_text(encoding="utf-8"))
    assert [row["state"] for row in found["trials"]] == ["complete", "complete"]
    for row in found["trials"]:
        metrics = (out / row["run"] / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        points = [v for v in map(json.loads, metrics) if v["split"] == "val" and v["step"]]
        assert [v["step"] for v in points] == [3, 6]
        assert row["value"] == min(v["bits_per_byte"] for v in points)
        assert json.loads((out / row["run"] / "report.json").read_text())["size"] == 2
    best = found["trials"][found["best"]]
    assert best["value"] == min(row["value"] for row in found["trials"])
    config = load_config(TrainConfig, out / "best.toml")
    trained = json.loads((out / best["run"] / "config.json").read_text(encoding="utf-8"))
    assert config.model_dump() == trained
    assert best["params"].items() <= trained.items()


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_space_lies_within_the_configuration(optimizer: str) -> None:
    flags = {"optimizer": optimizer}
    space = search_space(load_config(TrainConfig, None, flags))
    check_space(space, TrainConfig, None, flags)
    assert ("momentum" in space) == (optimizer == "muon")
    assert set(TUNABLE.objectives) == {"loss", "bits_per_byte"}


def test_what_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["tune", "--trials", "0", "--objective", "speed"])
    assert result.exit_code == 2
    assert result.output.splitlines() == [
        "error: trials: got 0 from --trials; give 1 or more",
        "error: objective: got 'speed'; give one of loss, bits_per_byte",
    ]
