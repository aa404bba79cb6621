"""The command line: what it offers, and one clear line for each kind of wrong input."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from textgen.cli import app
from textgen.config import TrainConfig
from textgen.testing import train, write_book

VERBS = (
    "train", "prepare", "evaluate", "generate", "compare", "export", "tune", "plan", "report",
    "models",
)  # fmt: skip
LAUNCH_FLAGS = {"--output-dir", "--np", "--hosts", "--resume", "--config", "--stall-timeout"}


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_help_lists_the_commands_and_no_others() -> None:
    code, text = invoke("--help")
    assert code == 0
    listed = text[text.index("Commands:") :].splitlines()[1:]
    assert [line.split()[0] for line in listed if re.match("  [a-z]", line)] == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_help(verb: str) -> None:
    code, text = invoke(verb, "--help")
    assert code == 0
    assert f"Usage: textgen {verb}" in text


def test_help_shows_choices_defaults_and_panels() -> None:
    _, text = invoke("train", "--help")
    words = " ".join(text.split())
    assert "--dtype auto|float32|bfloat16 Precision of the matrix products" in words
    assert "[default: auto]" in words
    assert "--gradient-dtype float32|bfloat16|float16 Precision of gradients" in words
    panels = ["Data:", "Model:", "Optimization:", "Ranks and hosts:", "Elastic:", "Output:"]
    assert [line for line in text.splitlines() if line in panels] == panels
    # The defaults of a run that is evaluated are those of its training.
    assert "Default: as in training." in " ".join(invoke("evaluate", "--help")[1].split())


def test_version() -> None:
    code, text = invoke("--version")
    assert code == 0
    assert text.startswith(f"textgen {version('textgen')}")
    assert f"horovod {version('horovod')}" in text


def test_every_field_of_the_configuration_has_a_flag() -> None:
    code, text = invoke("train", "--help")
    assert code == 0
    flags = {word for word in text.split() if word.startswith("--")} - LAUNCH_FLAGS - {"--help"}
    assert {"--" + name.replace("_", "-") for name in TrainConfig.model_fields} <= flags


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return write_book(tmp_path / "book.txt")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model", "huge"], "model: got 'huge' from --model; give one of char"),
        (["--embed-dim", "2000000", "--num-heads", "2"], "lower --embed-dim"),
        (["--tokenizer", "bytte"], "did you mean 'byte'"),
        (["--max-steps", "0"], "max_steps"),
        (["--epochs", "many"], "epochs"),
        (["--per-rank-batch-size", "most"], "give a whole number of 1 or more, or auto"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--val-fraction", "0.9", "--test-fraction", "0.2"], "leave nothing to train on"),
        (["--global-batch-size", "7", "--np", "2"], "global_batch_size"),
        (["--context-length", "1000000"], "fewer than one block"),
        (["--num-heads", "3"], "embed_dim"),
        (["--warmup-steps", "500", "--max-steps", "10"], "warmup_steps"),
        (["--resume", "nowhere"], "resume: nowhere: no such directory"),
        (["--init-from", "./nowhere"], "init_from: nowhere: no such run directory"),
        (["--hosts", "no-such-host.invalid:2"], "no-such-host.invalid"),
    ],
)
def test_wrong_flags(tmp_path: Path, book: Path, flags: list[str], expected: str) -> None:
    run = train(tmp_path / "run", book, *flags)
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    lines = run.stderr.strip().splitlines()
    assert all(line.startswith("error: ") for line in lines), run.stderr
    assert expected in run.stderr
    assert {path.name for path in run.path.glob("*")} <= {"logs", ".lock"}  # no half of a run


def test_all_errors_come_at_once(tmp_path: Path, book: Path) -> None:
    run = train(tmp_path / "run", book, "--max-steps", "0", "--clip-norm", "0", "--seed", "-1")
    assert run.returncode == 2
    lines = run.stderr.strip().splitlines()
    assert sorted(line.split(":")[1] for line in lines) == [" clip_norm", " max_steps", " seed"]


def _no_file(folder: Path) -> Path:
    return folder / "missing.txt"


def _empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def _zero_bytes(folder: Path) -> Path:
    (folder / "zero.txt").write_bytes(b"")
    return folder / "zero.txt"


def _binary(folder: Path) -> Path:
    (folder / "image.txt").write_bytes(bytes(range(256)) * 50)
    return folder / "image.txt"


def _a_few_words(folder: Path) -> Path:
    (folder / "short.txt").write_text("Too short.")
    return folder / "short.txt"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (_no_file, "no such path"),
        (_empty_folder, "it is empty"),
        (_zero_bytes, "it has no text (empty)"),
        (_binary, "it has no text (not text (holds NUL bytes))"),
        (_a_few_words, "fewer than one block of context_length 16"),
    ],
)
def test_wrong_data(tmp_path: Path, make: Callable[[Path], Path], expected: str) -> None:
    path = make(tmp_path)
    run = train(tmp_path / "run", path, "--np", "2")
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    lines = run.stderr.strip().splitlines()
    assert all(line.startswith("error: data: ") for line in lines), run.stderr
    assert expected in lines[0]
    if make is not _a_few_words:  # what is too short is the split, not a file
        assert str(path) in lines[0]


def test_more_ranks_than_blocks(tmp_path: Path) -> None:
    book = write_book(tmp_path / "small.txt", num_words=12)
    run = train(
        tmp_path / "run", book, "--np", "4", "--val-fraction", "0", "--test-fraction", "0",
    )  # fmt: skip
    assert run.returncode == 2, run.stderr
    assert "4 ranks but only" in run.stderr


def test_a_directory_in_use_is_refused(tmp_path: Path, book: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "diary.txt").write_text("mine")
    run = train(tmp_path / "run", book)
    assert run.returncode == 2
    assert "not empty" in run.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["diary.txt"]


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_a_file_is_no_output_directory(tmp_path: Path, book: Path, ranks: str) -> None:
    (tmp_path / "run").write_text("mine")
    run = train(tmp_path / "run", book, "--np", ranks)
    assert run.returncode == 2
    assert run.stderr == f"error: output_dir: {tmp_path / 'run'} is a file; give a directory\n"


@pytest.mark.parametrize("verb", ["evaluate", "generate", "report"])
def test_no_run(tmp_path: Path, verb: str) -> None:
    code, text = invoke(verb, str(tmp_path / "nothing"))
    assert code == 2
    assert "Traceback" not in text
