"""`news-cls tune`: a real trial, and the best one's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvdcore.config import load_config
from hvdcore.tune.space import check_space
from news_cls.config import MODELS, TrainConfig
from news_cls.search_space import search_space
from news_cls.testing import TINY, command, run

pytest.importorskip("optuna", reason="the extra news_cls[tune] is not installed")


@pytest.mark.parametrize("model", MODELS)
def test_the_space_is_made_of_fields_within_their_bounds(model: str) -> None:
    config = TrainConfig.model_validate({"model": model})
    check_space(search_space(config), TrainConfig, None, {"model": model})


@pytest.mark.ranks
def test_a_trial_is_a_run_and_the_best_can_be_trained(tmp_path: Path, texts: Path) -> None:
    pairs = zip(TINY[::2], TINY[1::2], strict=True)
    fields = {flag.removeprefix("--").replace("-", "_"): value for flag, value in pairs}
    config = load_config(TrainConfig, None, {**fields, "model": "cnn"})
    file, out = tmp_path / "tiny.json", tmp_path / "study"
    file.write_text(json.dumps(config.model_dump(mode="json")), encoding="utf-8")
    flags = ("--max-steps", "4", "--eval-every", "2", "--trials", "1", "--config", str(file))
    line = command("tune", "--data", str(texts), "--output-dir", str(out), *flags)
    run(out, line).check()
    (row,) = json.loads((out / "tuning.json").read_text(encoding="utf-8"))["trials"]
    assert row["state"] == "complete"
    trained = json.loads((out / row["run"] / "config.json").read_text(encoding="utf-8"))
    best = load_config(TrainConfig, out / "best.toml")
    assert best.model_dump(mode="json") == trained
    losses = [
        value["loss"]
        for value in map(json.loads, (out / row["run"] / "metrics.jsonl").read_text().splitlines())
        if value["split"] == "val" and value["step"]
    ]
    assert row["value"] == min(losses)
