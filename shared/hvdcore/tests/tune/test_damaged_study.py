"""A study whose files were damaged, removed or replaced: one line, and nothing is overwritten."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hvdcore.tune.trial import user_errors, why_it_ended

pytest.importorskip("optuna", reason="the extra hvdcore[tune] is not installed")

PROGRAM = Path(__file__).parents[1] / "programs" / "tune_trainer.py"


def tune(out: Path, trials: int) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(PROGRAM), "tune", "--output-dir", str(out), "--np", "1"]
    line += ["--trials", str(trials), "--pruner", "none", "--max-steps", "2"]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tune") / "study"
    assert tune(out, 1).returncode == 0
    return out


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "study"))


def no_storage(study: Path) -> None:
    for path in study.glob("study.db*"):
        path.unlink()


def random_bytes(study: Path) -> None:
    no_storage(study)
    (study / "study.db").write_bytes(b"\x17 no database" * 500)


def cut(study: Path) -> None:
    content = (study / "study.db").read_bytes()[:9000]
    no_storage(study)
    (study / "study.db").write_bytes(content)


def flipped(study: Path) -> None:
    content = bytearray((study / "study.db").read_bytes())
    content[5000::97] = bytes(b ^ 0xFF for b in content[5000::97])
    (study / "study.db").write_bytes(content)


def folder(study: Path) -> None:
    no_storage(study)
    (study / "study.db").mkdir()


def another(study: Path) -> None:
    no_storage(study)
    with sqlite3.connect(study / "study.db") as connection:
        connection.execute("create table t (a)")


def of_json(**changes: object) -> Callable[[Path], None]:
    def change(study: Path) -> None:
        values = {**json.loads((study / "study.json").read_text()), **changes}
        (study / "study.json").write_text(json.dumps(values))

    return change


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (random_bytes, "study.db: cannot be used (file is not a database); copy it from a backup"),
        (cut, "study.db: cannot be used ("),
        (flipped, "study.db: cannot be used ("),
        (folder, "study.db: cannot be used (unable to open database file)"),
        (no_storage, "study.db: the record of the trials in "),
        (another, "study.db: the record of the trials in "),
        (of_json(key=""), "study.json: key is missing; copy it from a backup"),
        (of_json(space=[1]), "study.json: space is not an object"),
    ],
    ids=["random", "cut", "flipped", "folder", "removed", "another", "no-key", "types"],
)
def test_damage_is_one_line(study: Path, damage: Callable[[Path], None], named: str) -> None:
    damage(study)
    before = sorted(study.glob("trials/*"))
    done = tune(study, 2)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {study}/{named}")
    assert sorted(study.glob("trials/*")) == before


def test_control_the_copy_goes_on(study: Path) -> None:
    assert tune(study, 2).returncode == 0
    assert len(list(study.glob("trials/*.json"))) == 2


def test_a_trial_whose_folder_was_removed(tmp_path: Path) -> None:
    assert str(user_errors(tmp_path / "0001")).startswith(f"{tmp_path}/0001: removed while the")
    (tmp_path / "0001").mkdir()
    assert why_it_ended(tmp_path / "0001") == "it printed nothing", "control"
