"""Files are the old ones or the new ones, whole: on full and read-only disks too."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hvdcore.errors import UserError
from hvdcore.files.atomic import move_folder_into_place, write_bytes_atomically, writing
from hvdcore.files.json_files import json_safe, read_json_object, write_json_atomically


def test_replaces_the_file_and_leaves_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_bytes_atomically(path, b"old")
    write_bytes_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_full_disk_keeps_the_old_file(full_disk: Path) -> None:
    path = full_disk / "report.json"
    write_bytes_atomically(path, b"old")
    with pytest.raises(UserError, match=r"report\.json: cannot write: the disk is full"):
        write_bytes_atomically(path, bytes(4 << 20))
    assert path.read_bytes() == b"old"
    assert [p.name for p in full_disk.iterdir()] == ["report.json"]


def test_read_only_disk(read_only_disk: Path) -> None:
    with pytest.raises(UserError, match=r"(read-only|no permission).*give another --output-dir"):
        write_bytes_atomically(read_only_disk / "x", b"")


def test_a_folder_that_is_removed_in_the_meantime(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    removed = r"cannot write: its folder was removed or renamed in the meantime; give another --out"
    with pytest.raises(UserError, match=rf"run/report\.json: {removed}"):
        write_bytes_atomically(folder / "report.json", b"")
    with pytest.raises(UserError, match=f"run: {removed}"), writing(folder):
        (folder / "a").touch()
    folder.mkdir()
    write_bytes_atomically(folder / "report.json", b"")
    for missing in (folder / "b" / "c", tmp_path / "data.txt"):  # control: something else is
        with pytest.raises(FileNotFoundError), writing(folder):
            missing.read_bytes()


def test_words_of_rust_libraries_are_understood(full_disk: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    with pytest.raises(UserError, match="the disk is full"), writing(full_disk):
        safetensors.save_file({"w": np.zeros(500_000)}, full_disk / "w.safetensors")


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(tmp_path):
        (tmp_path / "none").read_bytes()
    with pytest.raises(KeyError), writing(tmp_path):
        raise KeyError("a defect")
    with pytest.raises(UserError, match="quota"), writing(tmp_path):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {
        "nan": math.nan,
        "inf": [np.float32("inf")],
        "step": np.int64(3),
        "path": Path("a"),
        "pair": (1, 2.5),
        "flag": True,
        "text": "é",
        "none": None,
    }
    write_json_atomically(path, value)
    assert "NaN" not in path.read_text()
    assert read_json_object(path) == {
        "nan": None,
        "inf": [None],
        "step": 3,
        "path": "a",
        "pair": [1, 2.5],
        "flag": True,
        "text": "é",
        "none": None,
    }
    assert json_safe(True) is True


def strange() -> Iterator[tuple[bytes, str]]:
    yield b"{", "not valid JSON"
    yield b"[]", "holds a list"
    yield b"\xff", "not valid JSON"


@pytest.mark.parametrize(("contents", "expected"), list(strange()))
def test_unreadable_json(tmp_path: Path, contents: bytes, expected: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(contents)
    with pytest.raises(UserError, match=expected):
        read_json_object(path)
    with pytest.raises(UserError, match="cannot read: No such file"):
        read_json_object(tmp_path / "none.json")
    assert json.dumps(json_safe({1: {2: 3}})) == '{"1": {"2": 3}}'


def test_a_finished_folder_replaces_a_damaged_one_but_not_a_complete_one(tmp_path: Path) -> None:
    def make(text: str) -> Path:
        folder = tmp_path / text
        folder.mkdir()
        (folder / "content").write_text(text)
        return folder

    def is_complete(folder: Path) -> bool:
        return (folder / "content").is_file()

    path = tmp_path / "place"
    (path / "half").mkdir(parents=True)
    move_folder_into_place(make("first"), path, is_complete)
    assert [entry.name for entry in path.iterdir()] == ["content"]
    move_folder_into_place(make("second"), path, is_complete)
    assert (path / "content").read_text() == "first"


def test_processes_of_one_number_on_two_hosts_write_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one begins and ends while our bytes go to the disk."""
    monkeypatch.setattr(os, "getpid", lambda: 29)
    path, fsync = tmp_path / "file", os.fsync

    def other_first(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        write_bytes_atomically(path, b"theirs")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", other_first)
    write_bytes_atomically(path, b"ours")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"ours"
