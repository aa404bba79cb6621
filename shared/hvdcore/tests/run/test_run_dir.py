"""The run directory: made once, refused when used, opened only when it is one."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from hvdcore.config import Config, load_config
from hvdcore.errors import UserError
from hvdcore.run.run_dir import RunDir, default_run_dir


class Train(Config):
    data: str = "sample"
    learning_rate: float = 1e-3


def test_a_new_run(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "runs" / "a", "hvdcore", Train(data="books"))
    assert sorted(p.name for p in run.path.iterdir()) == [
        "checkpoints",
        "config.json",
        "env.json",
        "figures",
        "logs",
        "model",
        "tensorboard",
    ]
    assert RunDir.open(run.path).read_config() == {"data": "books", "learning_rate": 0.001}
    assert load_config(Train, run.config) == Train(data="books")
    assert json.loads(run.env.read_text())["versions"]["hvdcore"]


def test_what_the_launcher_wrote_before_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "rank-0.log").write_text("started\n")
    (tmp_path / "checkpoints").mkdir()
    RunDir.create(tmp_path, "hvdcore", {})
    assert (tmp_path / "logs" / "rank-0.log").read_text() == "started\n"


def test_a_used_directory_is_refused_unless_resumed(tmp_path: Path) -> None:
    RunDir.create(tmp_path, "hvdcore", {"epochs": 1})
    with pytest.raises(UserError, match=r"output_dir: .* is not empty .*--resume auto"):
        RunDir.create(tmp_path, "hvdcore", {"epochs": 2})
    assert RunDir.open(tmp_path).read_config() == {"epochs": 1}
    run = RunDir.create(tmp_path, "hvdcore", {"epochs": 2}, resuming=True)
    run = RunDir.create(tmp_path, "hvdcore", {"epochs": 2}, resuming=True)
    assert run.read_config() == {"epochs": 2}
    assert len(json.loads(run.env.read_text())["earlier_starts"]) == 2


def test_somebody_elses_folder_is_never_resumed(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"holds thesis\.tex but no run to resume"):
        RunDir.create(tmp_path, "hvdcore", {}, resuming=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("")
    with pytest.raises(UserError, match="is a file; give a directory"):
        RunDir.create(path, "hvdcore", {})
    with pytest.raises(UserError, match="cannot write: a part of the path is a file"):
        RunDir.create(path / "below", "hvdcore", {})
    with pytest.raises(UserError, match="a file; give the run directory"):
        RunDir.open(path)


def test_open_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run directory"):
        RunDir.open(tmp_path / "none")
    with pytest.raises(UserError, match=r"not a run directory \(no config.json\)"):
        RunDir.open(tmp_path)


def test_damaged_env_does_not_stop_a_resumed_run(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "hvdcore", {})
    run.env.write_text("{")
    RunDir.create(tmp_path, "hvdcore", {}, resuming=True)
    assert json.loads(run.env.read_text())["earlier_starts"] == []


def test_read_only_and_full_disks(read_only_disk: Path, full_disk: Path) -> None:
    with pytest.raises(
        UserError, match=r"read_only.*(read-only|no permission).*give another --output-dir"
    ):
        RunDir.create(read_only_disk / "run", "hvdcore", {})
    run = RunDir.create(full_disk / "run", "hvdcore", {})
    with pytest.raises(UserError, match=r"report\.json: cannot write: the disk is full"):
        run.write_json("report.json", {"text": "x" * (4 << 20)})
    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot write: the disk is full"):
        run.append_metrics({"text": "x" * (4 << 20)})


def test_reports_are_written_whole(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "hvdcore", {})
    assert run.write_json("report.json", {"val": {"loss": 1.5}}) == run.report
    assert json.loads(run.report.read_text()) == {"val": {"loss": 1.5}}


def test_default_run_dir_is_free(tmp_path: Path) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5)
    first = default_run_dir("textgen", tmp_path, now)
    assert first == tmp_path / "textgen" / "20260102-030405"
    first.mkdir(parents=True)
    second = default_run_dir("textgen", tmp_path, now)
    assert second.name == "20260102-030405-2"
    assert default_run_dir("textgen").parts[:2] == ("runs", "textgen")
