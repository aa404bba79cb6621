"""The command line: what it offers, what it prints, and one clear line for each wrong input."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvdcore.options import SHARED_OPTIONS
from news_cls.cli import app
from news_cls.config import DataFields, TrainConfig
from news_cls.testing import news, write_official


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_help_lists_the_verbs() -> None:
    code, text = invoke("--help")
    assert code == 0
    assert "prepare" in text


def test_every_field_has_a_flag() -> None:
    code, text = invoke("prepare", "--help")
    assert code == 0
    flags = set(re.findall(r"(?<![\w-])--[a-z-]+", text))
    fields = set(DataFields.model_fields) - {"num_train_texts"}  # which prepares nothing else
    assert flags == {"--" + name.replace("_", "-") for name in fields} | {"--config", "--help"}


def test_every_field_of_the_configuration_has_a_flag() -> None:
    code, text = invoke("train", "--help")
    assert code == 0
    flags = set(re.findall(r"(?<![\w-])--[a-z-]+", text))
    wanted = {"--" + name.replace("_", "-") for name in TrainConfig.model_fields}
    turned_off = {"--no-checkpoint-in-background"}
    assert wanted | set(SHARED_OPTIONS) | turned_off | {"--help"} == flags


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model", "huge"], "model: got 'huge'"),
        (["--max-steps", "0"], "max_steps"),
        (["--epochs", "many"], "epochs: got 'many'"),
        (["--feature-dropout", "1"], "feature_dropout"),
        (["--val-fraction", "0.9", "--test-fraction", "0.2"], "leave nothing to train on"),
        (["--global-batch-size", "7", "--np", "2"], "global_batch_size: 7 cannot be divided"),
        (["--num-train-texts", "9999", "--np", "2"], "num_train_texts: 9999 of only 3600 texts"),
        (["--ngram-buckets", "1"], "ngram_buckets: got 1"),
        (["--subword-buckets", "1"], "subword_buckets: got 1"),
    ],
)
def test_what_cannot_be_trained_is_one_line(flags: list[str], expected: str) -> None:
    code, text = invoke("train", *flags)
    assert code == 2, text
    (line,) = text.strip().splitlines()
    assert line.startswith("error: ")
    assert expected in line


def test_prepare_says_what_was_found(tmp_path: Path) -> None:
    rows = [*news(20), (0, "Acme #39;s [bold]", "\\$3 &lt;b&gt;up&lt;/b&gt;"), (1, "", "")]
    path = write_official(tmp_path / "all.csv", rows)
    code, text = invoke("prepare", "--data", str(path), "--max-length", "8")
    assert code == 0, text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "class train val test"
    assert lines[1:3] == ["World 5 0 1", "Sports 4 1 0"]
    assert "left out: 1 empty text" in text
    assert "apostrophe 1: Acme #39;s [bold]" in text
    assert f"empty text: {path} row 22" in text
    assert "cut at 8: train" in text
    assert re.search(r"^cache: .*news_cls/texts/[0-9a-f]{32}-[0-9a-f]{8}$", text, re.MULTILINE)


def test_a_configuration_file_and_flags_over_it(tmp_path: Path) -> None:
    path = write_official(tmp_path / "all.csv", news(20))
    toml = tmp_path / "config.toml"
    toml.write_text(f'data = "{path}"\nvocab-size = 5\nval_fraction = 0.4\n')
    code, text = invoke("prepare", "--config", str(toml), "--val-fraction", "0")
    assert code == 0, text
    assert "val 0" in text
    assert "vocabulary: 5 ids" in text


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--val-fraction", "0.6", "--test-fraction", "0.6"], "leave nothing to train on"),
        (["--vocab-size", "2"], "vocab_size: got 2"),
        (["--max-length", "none"], "max_length: got 'none'"),
        (["--data", "sampel"], "did you mean 'sample'"),
        (["--data", "no/such/file.csv"], "data: no/such/file.csv: no such file or folder"),
        (["--config", "nowhere.toml"], "config: nowhere.toml: no such file"),
        (["--text-column", "text"], "the sample has no columns"),
    ],
)
def test_wrong_flags(flags: list[str], expected: str) -> None:
    code, text = invoke("prepare", *flags)
    assert code == 2, text
    lines = text.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert expected in lines[0]


def test_all_that_is_wrong_with_the_flags_is_told_at_once() -> None:
    code, text = invoke("prepare", "--vocab-size", "2", "--max-length", "0", "--val-fraction", "2")
    assert (code, len(text.strip().splitlines())) == (2, 3)


def test_the_module_is_the_command(tmp_path: Path) -> None:
    rows = [f'"{label}","a{label}","b"\n' for label in (1, 2, 3, 4, 9)]
    (tmp_path / "all.csv").write_text("".join(rows))
    line = [sys.executable, "-m", "news_cls", "prepare", "--data", "all.csv"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: data: all.csv: row 5: label '9' is neither one of 1..4")
