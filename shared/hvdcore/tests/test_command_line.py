"""The frame of a command line: a configuration's options, versions, completion, usage errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field
from typer.testing import CliRunner

from hvdcore.command_line import create_app, version_text
from hvdcore.config import Config, Flag, load_config
from hvdcore.errors import EXIT_USER_ERROR, UserError
from hvdcore.options import RANKS, config_options, takes


class ModelFields(Config):
    panel: ClassVar[str] = "Model"
    model: Literal["small", "large"] = "small"
    num_layers: int | None = Field(None, ge=1)
    """Layers, in place of the ``model``'s."""
    init_from: Annotated[str | None, Flag(metavar="RUN|PATH")] = None
    """Start from these weights."""


class RunFields(Config):
    panel: ClassVar[str] = "Optimization"
    epochs: int = Field(3, ge=1)
    momentum: float = Field(0.95, ge=0.0, lt=1.0)
    """Momentum of the
    optimizer."""
    log_every: Annotated[int, Flag(panel="Output")] = 10
    """Steps between two points."""


class DataFields(Config):
    panel: ClassVar[str] = "Data"
    data: str = "sample"
    columns: tuple[str, ...] = ()
    """Columns to read."""
    shuffle: bool = True
    """Shuffle the data."""
    split: Annotated[str, Flag(choices=("train", "val"))] = "train"
    """Split to read."""


class Train(DataFields, ModelFields, RunFields):
    momentum: float = Field(0.5, ge=0.0, lt=1.0)
    """Momentum of this optimizer."""


app = create_app("trainer", "Train.", "hvdcore")


@app.command()
@takes(config_options(Train))
def train(**flags: Any) -> None:
    """Train."""
    print(load_config(Train, None, flags).model_dump_json())


@app.command()
@takes(RANKS)
def evaluate(run: str, **flags: Any) -> None:
    """Evaluate."""
    raise UserError(f"run: {run}: no such run", "np: two problems")


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80", "TERM": "dumb"})
    return result.exit_code, result.stdout, result.stderr


TRAIN_HELP = """\
Usage: trainer train [OPTIONS]

  Train.

Data:
  --data sample|PATH|NAME   What to read: 'sample' (generated, offline), a
                            path, or the name of a data set to download.
                            [default: sample]
  --columns NAME,...        Columns to read.
  --shuffle / --no-shuffle  Shuffle the data.  [default: shuffle]
  --split train|val         Split to read.  [default: train]

Model:
  --model small|large     Which model to train.  [default: small]
  --num-layers INTEGER    Layers, in place of the model's.
  --init-from RUN|PATH    Start from these weights.

Optimization:
  --epochs INTEGER    Passes over the training data.  [default: 3]
  --momentum NUMBER   Momentum of this optimizer.  [default: 0.5]

Output:
  --log-every INTEGER  Steps between two points.  [default: 10]

Options:
  --help  Show this message and exit.
"""


def test_help_shows_panels_choices_and_defaults() -> None:
    code, out, err = run("train", "--help")
    assert (code, err) == (0, "")
    assert out.split() == TRAIN_HELP.split()


def test_options_are_the_fields() -> None:
    code, out, _ = run("train", "--no-shuffle", "--num-layers", "2", "--split", "val")
    assert code == 0
    assert json.loads(out) == {
        "model": "small", "num_layers": 2, "init_from": None, "epochs": 3, "momentum": 0.5,
        "log_every": 10, "data": "sample", "columns": [], "shuffle": False, "split": "val",
    }  # fmt: skip


def test_a_choice_of_fields() -> None:
    assert list(config_options(Train, only=["momentum", "epochs"])) == ["epochs", "momentum"]
    rest = ("model", "num_layers", "init_from", "data", "columns", "shuffle", "split", "epochs")
    assert list(config_options(Train, without=rest)) == ["momentum", "log_every"]
    with pytest.raises(ValueError, match="Train has no field epoch"):
        config_options(Train, only=["epoch"])


def test_control_a_field_without_a_docstring_is_refused() -> None:
    class Mute(Config):
        width: int = 3

    with pytest.raises(ValueError, match=r"Mute\.width: write a docstring"):
        config_options(Mute)


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (["trian"], ["no such command 'trian'; did you mean 'train'?"]),
        (["train", "--epohs", "3"], ["--epohs: no such option; did you mean --epochs?"]),
        (["train", "--zzz", "3"], ["--zzz: no such option; see trainer train --help"]),
        (["train", "--epochs", "0"], ["epochs: got 0 from --epochs; give 1 or more"]),
        (["train", "--model", "x"], ["model: got 'x' from --model; give 'small' or 'large'"]),
        (["train", "a"], ["got unexpected extra argument(s) (a); see trainer train --help"]),
        (["evaluate"], ["run: missing; see trainer evaluate --help"]),
        (["evaluate", "r"], ["run: r: no such run", "np: two problems"]),
    ],
)
def test_every_usage_error_has_one_style(arguments: list[str], problems: list[str]) -> None:
    assert run(*arguments) == (2, "", "".join(f"error: {problem}\n" for problem in problems))


def test_a_number_out_of_range_names_the_option() -> None:
    code, out, err = run("evaluate", "r", "--np", "0")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: --np: ")
    assert err.endswith("; see trainer evaluate --help\n")


def test_without_arguments_the_help_is_shown() -> None:
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: trainer [OPTIONS] COMMAND")


def test_version_names_what_is_installed_and_loads_no_framework() -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert out == version_text("trainer", "hvdcore") + "\n"
    names = [line.split()[0] for line in out.splitlines()]
    assert names[:2] == ["trainer", "horovod"]
    assert names[-1] == "Python"
    script = (
        "import sys; from hvdcore.command_line import version_text; version_text('a', 'hvdcore')\n"
        "print([n for n in ('torch', 'tensorflow', 'keras', 'horovod') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_version_of_what_is_not_installed() -> None:
    assert version_text("x", "no_such_package").startswith("x not installed\nhvdcore ")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("hvdcore la", ["launch"]),
        ("hvdcore launch --max-", ["--max-restarts", "--max-np"]),
        ("hvdcore launch --controller ", ["auto", "mpi", "gloo"]),
    ],
)
def test_the_shell_completes(words: str, completed: list[str], tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("hvdcore")
    setting = {"_HVDCORE_COMPLETE": "complete_bash", "COMP_WORDS": words}
    count = str(len(words.split()) - (0 if words.endswith(" ") else 1))
    done = subprocess.run(
        [program], env={**os.environ, **setting, "COMP_CWORD": count},
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.split() == completed


def test_a_text_where_a_path_belongs_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    program = create_app("trainer", "Train.", "hvdcore")
    program.command()(lambda: Path("word " * 100).exists())
    program.command("other")(lambda: Path("no such file").stat())
    with pytest.raises(SystemExit) as ended:
        program(["<lambda>"])
    assert ended.value.code == EXIT_USER_ERROR
    name = ("word " * 100)[:60]
    problem = f"{name}...: too long for the name of a file; give a path (is it a text?)"
    assert capsys.readouterr().err == f"error: {problem}\n"
    with pytest.raises(FileNotFoundError):  # control: what we forgot stays a traceback
        program(["other"])


def test_a_traceback_shows_no_password() -> None:
    """Of an error that is neither the user's nor the machine's, nor of what led to it."""
    code = (
        "from hvdcore.command_line import create_app\n"
        "app = create_app('x', 'X.', 'hvdcore')\n"
        "@app.command()\n"
        "def one() -> None:\n"
        "    try:\n"
        "        raise KeyError('http://me:pass-7781@proxy:3128 refuses')\n"
        "    except KeyError as error:\n"
        "        raise ValueError('https://host/x?token=tok-7782') from error\n"
        "@app.command()\n"
        "def two() -> None: ...\n"
        "app(['one'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "7781" not in done.stderr
    assert "7782" not in done.stderr
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert "KeyError: 'http://me:***@proxy:3128 refuses'" in done.stderr
    assert done.stderr.endswith("ValueError: https://host/x?token=***\n")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--hots", "a:1", "true"], "--hots: no such option; did you mean"),
        (["--np", "1", "--no-such", "true"], "--no-such: no such option; see"),
    ],
)
def test_an_option_that_launch_does_not_have_is_no_command(words: list[str], problem: str) -> None:
    command = [sys.executable, "-m", "hvdcore", "launch", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_USER_ERROR
    assert done.stderr.startswith(f"error: {problem}")
    assert len(done.stderr.splitlines()) == 1
