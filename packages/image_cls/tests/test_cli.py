"""The command line: what it offers, and one clear line for each kind of wrong input."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvdcore.options import SHARED_OPTIONS
from image_cls.cli import app
from image_cls.config import TrainConfig
from image_cls.testing import write_scenes

VERBS = ("train", "prepare", "evaluate", "predict", "report", "compare")


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_help_lists_the_verbs() -> None:
    code, text = invoke("--help")
    assert code == 0
    for verb in VERBS:
        assert verb in text


def test_every_field_of_the_configuration_has_a_flag() -> None:
    code, text = invoke("train", "--help")
    assert code == 0
    flags = set(re.findall(r"(?<![\w-])--[a-z-]+", text))
    wanted = {"--" + name.replace("_", "-") for name in TrainConfig.model_fields}
    turned_off = {"--no-augment", "--no-checkpoint-in-background"}
    assert flags == wanted | set(SHARED_OPTIONS) | turned_off | {"--help", "--color"}


def wrong(*arguments: str) -> list[str]:
    """The problems that the command named; it must have ended with 2 and no traceback."""
    code, text = invoke(*arguments)
    assert code == 2, text
    assert "Traceback" not in text
    lines = [line for line in text.strip().splitlines() if not line.startswith("prepare ")]
    assert all(line.startswith("error: ") for line in lines), text
    return [line.removeprefix("error: ") for line in lines]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model", "huge"], "model: got 'huge'"),
        (["--max-steps", "0"], "max_steps"),
        (["--epochs", "many"], "epochs: got 'many'"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--val-fraction", "0.9", "--test-fraction", "0.2"], "leave nothing to train on"),
        (["--global-batch-size", "7", "--np", "2"], "global_batch_size: 7 cannot be divided"),
        (["--warmup-steps", "500", "--max-steps", "10"], "warmup_steps"),
        (["--num-train-images", "5000"], "num_train_images: 5000 of only 60"),
        (
            ["--num-train-images", "6", "--np", "8", "--global-batch-size", "8"],
            "np: 8 ranks but only 6 training images",
        ),
        (["--num-train-images", "2"], "num_train_images: 2 images for 6 classes"),
        (["--model", "mobilenet"], "weights: mobilenet is for transfer"),
        (["--weights", "x.h5"], "weights: cnn starts from random weights"),
        (["--image-size", "5"], "image_size: got 5"),
        (["--mixup", "1.5"], "mixup"),
        (["--color", "2"], "colour: got 2"),
        (["--colour", "2"], "colour: got 2"),
        (["--data", "sampel"], "did you mean 'sample'"),
        (["--config", "nowhere.toml"], "config: nowhere.toml: no such file"),
    ],
)
def test_wrong_flags(scenes: Path, tmp_path: Path, flags: list[str], expected: str) -> None:
    base = ["--data", str(scenes), "--image-size", "16", "--output-dir", str(tmp_path / "run")]
    problems = wrong("train", "--np", "2", *base, *flags)
    assert len(problems) == 1
    assert expected in problems[0]
    assert not (tmp_path / "run").exists()


def test_all_errors_come_at_once(scenes: Path) -> None:
    flags = ("--max-steps", "0", "--erase", "2", "--seed", "-1")
    problems = wrong("train", "--data", str(scenes), "--np", "2", *flags)
    assert {problem.split(":")[0] for problem in problems} == {"max_steps", "erase", "seed"}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"PK")
    (problem,) = wrong("train", "--np", "2", "--data", str(tmp_path / "data.zip"))
    assert "a file; give the folder" in problem


@pytest.mark.parametrize("verb", ["evaluate", "predict", "report"])
def test_no_run(tmp_path: Path, verb: str) -> None:
    image = write_scenes(tmp_path / "scenes", 1) / "waves" / "0.png"
    inputs = [str(image)] if verb == "predict" else []
    (problem,) = wrong(verb, str(tmp_path / "nothing"), *inputs)
    assert "no such run directory" in problem


def test_evaluate_names_all_that_is_wrong(tmp_path: Path) -> None:
    problems = wrong("evaluate", str(tmp_path), "--split", "dev")
    assert problems[0] == "split: got 'dev'; give one of train, val, test"
    assert "not a run directory" in problems[1]


def test_predict_names_all_that_is_wrong(tmp_path: Path) -> None:
    problems = wrong("predict", str(tmp_path / "run"), str(tmp_path / "a.jpg"), "--format", "xml")
    assert problems[0].startswith("format: got 'xml'; give csv or json or jsonl")
    assert "no such run directory" in problems[1]
    assert problems[2].startswith("input: ")
    assert len(problems) == 3


def test_compare_checks_all_before_the_first_run(scenes: Path, tmp_path: Path) -> None:
    base = ("compare", "--data", str(scenes), "--image-size", "16", "--output-dir", str(tmp_path))
    problems = wrong(*base, "--models", "cnn,resnet", "--np", "0,2")
    assert [problem.split(":")[0] for problem in problems] == ["models", "np"]
    (problem,) = wrong(*base, "--models", "logreg", "--np", "1,3", "--global-batch-size", "8")
    assert "global_batch_size: 8 cannot be divided" in problem
    assert list(tmp_path.iterdir()) == []


def test_prepare_prints_the_splits(scenes: Path) -> None:
    code, text = invoke("prepare", "--data", str(scenes), "--image-size", "16")
    assert code == 0
    assert "train 60, val 6, test 25" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()}
    assert rows["waves"] == ["10", "1", "0"]
