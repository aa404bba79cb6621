"""A restarted run continues in its own directory, whatever --resume said at first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hvdcore.errors import Problems, UserError
from hvdcore.run.checkpoint import save
from hvdcore.run.run_dir import RunDir
from hvdcore.run.start import check_output_dir, start_run
from hvdcore.runtime.world import World

ALONE = World(0, 1, 0, 1, "none")


def write(folder: Path) -> None:
    (folder / "weights").write_text("1", encoding="utf-8")


def start(path: Path, resume: str) -> int | None:
    """The step from which a run resumes."""
    _, found = start_run(
        path, "hvdcore", {}, resume, fingerprint={}, world=ALONE, broadcast=lambda text: text
    )
    return None if found is None else found.step


def test_a_restart_goes_on_from_the_newest_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "run", tmp_path / "other"
    save(RunDir(other).checkpoints, 7, write)
    assert start(path, str(other)) == 7
    with pytest.raises(UserError, match="is not empty"):
        start(path, str(other))
    monkeypatch.setenv("HVDCORE_RESTART", "1")
    assert start(path, str(other)) == 7, "it failed before its own first checkpoint"
    save(RunDir(path).checkpoints, 9, write)
    assert start(path, str(other)) == 9
    assert start(path, "never") == 9
    monkeypatch.delenv("HVDCORE_RESTART")
    with pytest.raises(UserError, match="is not empty"):
        start(path, "never")


def test_a_run_directory_whose_name_is_no_utf8_is_refused(tmp_path: Path) -> None:
    problems = Problems()
    check_output_dir(tmp_path / "caf\u00e9", "never", problems)
    assert not problems, "control"
    check_output_dir(tmp_path / os.fsdecode(b"caf\xe9"), "never", problems)
    with pytest.raises(UserError, match="not UTF-8, and weights cannot be read"):
        problems.raise_if_any()


def test_other_settings_are_told_with_the_place_of_the_runs_own(tmp_path: Path) -> None:
    path = tmp_path / "run"
    start(path, "never")
    save(RunDir(path).checkpoints, 3, write, meta={"layers": 2})

    def resume(folder: Path, resume: str, package: str = "textgen") -> None:
        start_run(
            folder, package, {}, resume, fingerprint={"layers": 4}, world=ALONE,
            broadcast=lambda text: text,
        )  # fmt: skip

    with pytest.raises(UserError) as error:
        resume(path, "auto")
    assert len(error.value.problems) == 2
    assert error.value.problems[1].endswith(f"add --config {path / 'config.json'}")
    with pytest.raises(UserError) as error:
        resume(path, "auto", package="hvdcore")  # of a script of one's own, which has no options
    assert error.value.problems[1].endswith(f"than those in {path / 'config.json'}")
    with pytest.raises(UserError) as error:
        resume(tmp_path / "other", str(path))
    assert len(error.value.problems) == 1, "control: another run's settings are not asked for"
