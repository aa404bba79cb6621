"""A run written by an earlier layout of the sources is still read, evaluated and resumed.

`fixtures/run-0.1` was trained on `fixtures/books` for six steps with `--tokenizer bpe`; of its two
checkpoints the one of step 3 is kept, so resuming makes the last three steps again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from textgen.pretrained.saved_model import load_model
from textgen.testing import Run, command, environment, run_command

FIXTURES = Path(__file__).parents[1] / "fixtures"
# Other processors round otherwise: the figures are the same to five digits or so, not to the bit.
TOLERANCE = 1e-4


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / "run-0.1", tmp_path / "run"))


def textgen(run: Path, *arguments: str) -> Run:
    line = [*command(*arguments), "--data", str(FIXTURES / "books")]
    return run_command(run, line, environment(run.parent / "cache"), 300.0).check()


def evaluated(run: Path) -> dict[str, float]:
    scores: dict[str, dict[str, float]] = json.loads(
        textgen(run, "evaluate", str(run), "--split", "test").stdout
    )
    return scores["test"]


def test_it_is_evaluated(run: Path) -> None:
    expected = json.loads((run / "report.json").read_text())["test"]
    found = evaluated(run)
    assert found["loss"] == pytest.approx(expected["loss"], rel=TOLERANCE)
    for name in ("num_tokens", "num_bytes", "num_words"):
        assert found[name] == expected[name]


def test_control_other_weights_score_otherwise(run: Path) -> None:
    expected = json.loads((run / "report.json").read_text())["test"]["loss"]
    weights = load_file(run / "model" / "model.safetensors")
    weights["model.embed_tokens.weight"] *= 2
    save_file(weights, run / "model" / "model.safetensors", metadata={"format": "pt"})
    assert evaluated(run)["loss"] != pytest.approx(expected, rel=TOLERANCE)


def test_its_last_steps_are_made_again(run: Path) -> None:
    expected = json.loads((run / "report.json").read_text())
    before = load_file(run / "model" / "model.safetensors")
    found = textgen(
        run, "train", "--config", str(run / "config.json"), "--output-dir", str(run), "--resume",
        "auto",
    )  # fmt: skip
    assert found.report["steps"] == expected["steps"] == 6
    assert sorted(found.losses("val")) == [0, 3, 6]
    for split in ("train", "val", "test"):
        assert found.report[split]["loss"] == pytest.approx(expected[split]["loss"], rel=TOLERANCE)
    after = load_file(run / "model" / "model.safetensors")
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-4)


def test_control_a_checkpoint_of_another_seed_is_refused(run: Path) -> None:
    found = run_command(
        run,
        [*command("train", "--config", str(run / "config.json"), "--output-dir", str(run)),
         "--data", str(FIXTURES / "books"), "--resume", "auto", "--seed", "1"],
        environment(run.parent / "cache"),
        300.0,
    )  # fmt: skip
    assert found.returncode == 2
    assert "seed" in found.stderr


def test_its_model_is_loaded(run: Path) -> None:
    model, tokenizer = load_model(run / "model")
    assert model.num_parameters == 9584
    text = "kalo miru, tane \U0001f600"
    assert tokenizer.decode(tokenizer.encode(text)) == text
