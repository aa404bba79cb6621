"""The shared options: frozen names and order, every problem at once, a light import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import Field
from typer.testing import CliRunner

from hvdcore import options
from hvdcore.command_line import create_app
from hvdcore.config import Config, load_config
from hvdcore.options import takes

app = create_app("trainer", "Train.", "hvdcore")


class Train(Config):
    data: str = "sample"
    epochs: int = Field(1, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    output_dir: Path | None = None


@app.command()
@takes(options.TRAIN)
def train(**given: Any) -> None:
    """Train."""
    flags = {name: given[name] for name in ("data", "epochs", "learning_rate", "output_dir")}
    print(load_config(Train, given["config"], flags), given["np"], given["stall_timeout"])


def listed(out: str) -> dict[str, list[str]]:
    """The flags below each heading of a help text, in their order."""
    panels: dict[str, list[str]] = {}
    for line in out.splitlines():
        if heading := re.fullmatch(r"(\w[\w ]*):", line):
            panels[heading[1]] = []
        elif flag := re.match(r"  (--[a-z-]+)", line):
            panels[[*panels][-1]].append(flag[1])
    return panels


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["train", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})
    return result.exit_code, result.stdout, result.stderr


def test_help_lists_the_shared_options_by_panels() -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert listed(out) == {
        "Data": ["--data"],
        "Model": ["--model"],
        "Optimization": [
            "--epochs", "--max-steps", "--global-batch-size", "--learning-rate", "--seed",
        ],
        "Ranks and hosts": [
            "--np", "--hosts", "--hostfile", "--stall-timeout", "--max-restarts", "--ray",
            "--cpus-per-rank", "--gpus-per-rank", "--bind-to",
        ],
        "Elastic": ["--min-np", "--max-np", "--host-discovery-script", "--elastic-timeout"],
        "Output": ["--eval-every", "--checkpoint-every", "--output-dir", "--resume", "--open"],
        "Options": ["--config", "--help"],
    }  # fmt: skip
    shown = [flag for flags in listed(out).values() for flag in flags]
    assert sorted(shown) == sorted([*options.SHARED_OPTIONS, "--help"])


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('epochs = 3\ndata = "books"\n')
    code, out, err = run("--config", str(file), "--epochs", "5", "--np", "2")
    assert (code, err) == (0, "")
    assert out.startswith("data='books' epochs=5 learning_rate=0.001 output_dir=None 2 None")


def test_every_wrong_number_is_reported_at_once() -> None:
    code, _, err = run("--epochs", "many", "--learning-rate", "fast")
    assert code == 2
    assert err == (
        "error: epochs: got 'many' from --epochs; give a whole number\n"
        "error: learning_rate: got 'fast' from --learning-rate; give a number\n"
    )


def test_ranks_are_counted_from_one() -> None:
    code, _, err = run("--np", "0")
    assert code == 2
    assert "--np" in err


def test_import_is_light() -> None:
    code = (
        "import sys, hvdcore.options, hvdcore.errors\n"
        "heavy = 'numpy pydantic rich.progress torch tensorflow keras transformers horovod'\n"
        "print([name for name in heavy.split() if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
