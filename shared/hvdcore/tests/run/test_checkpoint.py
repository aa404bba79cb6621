"""Checkpoints are whole or do not count; what is damaged is passed over, never loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hvdcore.errors import UserError
from hvdcore.run.checkpoint import (
    Checkpoint,
    best,
    clean_up,
    commit,
    discard_after,
    latest_valid,
    load,
    save,
    stage,
    staging_path,
)


def put(directory: Path, step: int, **how: object) -> Checkpoint:
    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(bytes([step % 256]) * 1000)
        (folder / "ranks").mkdir()
        (folder / "ranks" / "0.json").write_text(json.dumps({"step": step}))

    return save(directory, step, write, **how)  # type: ignore[arg-type]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_saved_and_found_again(tmp_path: Path) -> None:
    directory = tmp_path / "run" / "checkpoints"
    assert latest_valid(directory) is None
    saved = put(directory, 120, meta={"position": {"epoch": 1, "step": 2, "samples_seen": 3}})
    found = latest_valid(directory)
    assert found == saved == load(saved.path)
    assert found.step == 120
    assert found.meta["position"] == {"epoch": 1, "step": 2, "samples_seen": 3}
    assert found.meta["step"] == 120
    assert found.file("weights.bin").read_bytes() == bytes([120]) * 1000
    assert names(saved.path) == ["manifest.json", "meta.json", "ranks", "weights.bin"]
    with pytest.raises(UserError, match=r"holds no model\.safetensors"):
        found.file("model.safetensors")


def test_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    assert best(tmp_path) is None
    for step in range(1, 7):
        put(tmp_path, step, keep=2, is_best=step == 2)
    assert names(tmp_path) == ["step-00000002", "step-00000005", "step-00000006"]
    found = best(tmp_path)
    assert found is not None
    assert found.step == 2
    put(tmp_path, 7, keep=1, is_best=True)
    assert names(tmp_path) == ["step-00000007"]


FOREIGN_NAMES = {"out": "../../x", "nul": "a\0b", "long": "n" * 300, "surrogate": "\udcff"}


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "gone", "no manifest", "bad manifest", *FOREIGN_NAMES]
)
def test_damage_is_noticed_and_passed_over(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, 1)
    broken = put(tmp_path, 2).path
    weights, manifest = broken / "weights.bin", broken / "manifest.json"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "flipped":
        weights.write_bytes(b"\xff" + weights.read_bytes()[1:])
    elif damage == "gone":
        weights.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "bad manifest":
        manifest.write_text(manifest.read_text()[:40])
    else:
        foreign = {FOREIGN_NAMES[damage]: {"bytes": 0, "sha256": ""}}
        manifest.write_text(json.dumps({"files": foreign}))
    found = latest_valid(tmp_path)
    assert found is not None
    assert found.step == 1
    assert "skipping" in caplog.text
    with pytest.raises(UserError, match="half-written or damaged checkpoint"):
        load(broken)


def test_no_such_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        load(tmp_path / "step-00000001")


def test_a_second_save_of_a_step_never_touches_the_first(tmp_path: Path) -> None:
    first = put(tmp_path, 5)
    second = put(tmp_path, 5, meta={"again": True})
    assert first.path != second.path
    found = latest_valid(tmp_path)
    assert found is not None
    assert found.meta["again"] is True


def test_an_error_while_writing_leaves_the_earlier_one(tmp_path: Path) -> None:
    put(tmp_path, 1)

    def fail(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(b"half")
        raise KeyError("a defect")

    with pytest.raises(KeyError):
        save(tmp_path, 2, fail)
    assert names(tmp_path) == ["step-00000001"]


def test_leftovers_are_deleted_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, 1)
    (staging_path(tmp_path, 2) / "ranks").mkdir(parents=True)
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".deleting-step-00000000")
    assert clean_up(tmp_path) == [".deleting-step-00000000", ".writing-step-00000002"]
    assert "incomplete, left by a killed run" in caplog.text
    assert names(tmp_path) == ["step-00000001"]
    assert clean_up(tmp_path / "none") == []


def test_a_save_cleans_up_too(tmp_path: Path) -> None:
    staging_path(tmp_path, 3).mkdir(parents=True)
    put(tmp_path, 4)
    assert names(tmp_path) == ["step-00000004"]


def test_staged_by_several_ranks(tmp_path: Path) -> None:
    stage(tmp_path, 9)
    for rank in range(3):
        (staging_path(tmp_path, 9) / f"rank-{rank}.json").write_text(str(rank))
    assert latest_valid(tmp_path) is None
    found = commit(tmp_path, 9)
    assert [found.file(f"rank-{rank}.json").read_text() for rank in range(3)] == ["0", "1", "2"]


def test_going_back_discards_the_future(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        put(tmp_path, step, keep=9, is_best=step == 3)
    assert discard_after(tmp_path, 1) == ["step-00000003", "step-00000002"]
    assert names(tmp_path) == ["step-00000001"]
    assert best(tmp_path) is None


def test_a_damaged_later_one_cannot_crowd_out_the_new(tmp_path: Path) -> None:
    put(tmp_path, 1)
    (put(tmp_path, 9).path / "weights.bin").unlink()
    put(tmp_path, 2, keep=1)
    assert names(tmp_path) == ["step-00000002"]


def test_full_disk_keeps_the_earlier_checkpoint(full_disk: Path) -> None:
    put(full_disk, 1)

    def too_much(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(bytes(4 << 20))

    with pytest.raises(UserError, match="cannot write: the disk is full; free some space"):
        save(full_disk, 2, too_much)
    assert names(full_disk) == ["step-00000001"]
    found = latest_valid(full_disk)
    assert found is not None
    assert found.step == 1


def test_full_disk_told_by_safetensors(full_disk: Path) -> None:
    numpy_files = pytest.importorskip("safetensors.numpy")
    weights = {"w": np.zeros(500_000)}
    with pytest.raises(UserError, match="the disk is full"):
        save(full_disk, 2, lambda folder: numpy_files.save_file(weights, folder / "w"))
    assert names(full_disk) == []


def test_file_size_limit(tmp_path: Path) -> None:
    """What a full disk does, for those who may not mount one: the kernel refuses the bytes."""
    code = (
        "import pathlib, resource, sys\n"
        "from hvdcore.run.checkpoint import save\n"
        "from hvdcore.errors import user_errors_exit\n"
        "directory = pathlib.Path(sys.argv[1])\n"
        "save(directory, 1, lambda folder: (folder / 'w').write_bytes(bytes(10)) and None)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "with user_errors_exit():\n"
        "    save(directory, 2, lambda folder: (folder / 'w').write_bytes(bytes(200_000)))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}: cannot write: the file size limit")
    assert done.stderr.count("\n") == 1
    assert names(tmp_path) == ["step-00000001"]


def test_read_only_disk(read_only_disk: Path) -> None:
    with pytest.raises(UserError, match=r"read-only|no permission"):
        put(read_only_disk / "checkpoints", 1)
