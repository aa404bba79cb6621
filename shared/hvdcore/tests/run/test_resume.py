"""What --resume means, and whether a checkpoint fits the run."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.run.checkpoint import (
    require_same,
    resolve_resume,
    save,
)
from hvdcore.run.run_dir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "run", "hvdcore", {})


def put(run: RunDir, step: int, *, is_best: bool = False) -> Path:
    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(b"w" * step)

    return save(run.checkpoints, step, write, keep=9, is_best=is_best).path


def break_it(checkpoint: Path) -> None:
    (checkpoint / "weights.bin").write_bytes(b"")


def test_never_and_auto(run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert resolve_resume(run, "auto") is None
    assert "no checkpoint in" in caplog.text
    assert "training starts from scratch" in caplog.text
    put(run, 3)
    newest = put(run, 5)
    assert resolve_resume(run, "never") is None
    found = resolve_resume(run.path, "auto")
    assert found is not None
    assert found.step == 5
    break_it(newest)
    found = resolve_resume(run, "auto")
    assert found is not None
    assert found.step == 3
    break_it(found.path)
    with pytest.raises(UserError, match=f"resume: {run.checkpoints}: every checkpoint in it is d"):
        resolve_resume(run, "auto")
    assert len(list(run.checkpoints.glob("step-*"))) == 2, "they may still be of use"


def test_paths(run: RunDir, tmp_path: Path) -> None:
    first, second = put(run, 3), put(run, 5)
    elsewhere = RunDir(tmp_path / "new")
    for path, step in ((first, 3), (second, 5), (run.checkpoints, 5), (run.path, 5)):
        found = resolve_resume(elsewhere, path)
        assert found is not None
        assert found.step == step
    break_it(second)
    found = resolve_resume(elsewhere, str(run.path))
    assert found is not None
    assert found.step == 3


def test_paths_without_a_whole_checkpoint(run: RunDir, tmp_path: Path) -> None:
    new = RunDir(tmp_path / "new")
    with pytest.raises(UserError, match=r"resume: .*none: no such directory"):
        resolve_resume(new, tmp_path / "none")
    with pytest.raises(UserError, match="holds no checkpoint; give a run that has saved one"):
        resolve_resume(new, run.path)
    half = put(run, 3)
    (half / "manifest.json").unlink()
    with pytest.raises(UserError, match="every checkpoint in it is half-written or damaged"):
        resolve_resume(new, run.path)
    with pytest.raises(UserError, match=r"resume: .*half-written.*it has no manifest\.json"):
        resolve_resume(new, half)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="no such directory"):
        resolve_resume(new, tmp_path / "file")


def test_require_same_names_field_and_both_values() -> None:
    require_same("num_layers", 4, 4)
    require_same("betas", (0.9, 0.95), [0.9, 0.95])  # JSON knows no tuples
    with pytest.raises(UserError) as caught:
        require_same("num_layers", 6, 4)
    assert caught.value.problems == (
        "num_layers: the checkpoint was written with 4, this run asks for 6; give 4, or start"
        " from scratch in another --output-dir",
    )


def test_require_same_reports_only_what_differs() -> None:
    here = {"num_layers": 6, "embed_dim": 64, "rope": {"theta": 1.0}}
    there = {"num_layers": 4, "embed_dim": 64, "rope": {"theta": 2.0}, "old": 1}
    with pytest.raises(UserError) as caught:
        require_same("model", here, there)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "model.num_layers",
        "model.rope.theta",
        "model.old",
    ]
