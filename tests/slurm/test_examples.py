"""The scripts in infra/slurm are what the commands of its README write."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvdcore.cli import app

FOLDER = Path(__file__).parents[2] / "infra" / "slurm"
README = (FOLDER / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
COMMANDS = [shlex.split(line) for line in re.findall(r"^hvdcore (slurm .*)$", README, re.MULTILINE)]


def written(command: list[str]) -> str:
    """The name of the script that a command of the README writes."""
    return Path(command[command.index("--output") + 1]).name


def test_each_script_has_its_command() -> None:
    assert sorted(map(written, COMMANDS)) == sorted(path.name for path in FOLDER.glob("*.sh"))


@pytest.mark.parametrize("command", COMMANDS, ids=written)
def test_a_script_is_what_its_command_writes(command: list[str], tmp_path: Path) -> None:
    new = tmp_path / "job.sh"
    elsewhere = [str(new) if word.endswith(".sh") else word for word in command]
    done = CliRunner().invoke(app, elsewhere)
    assert done.exit_code == 0, done.output
    assert new.read_text("utf-8") == (FOLDER / written(command)).read_text("utf-8")
