"""The files below a folder: order, links in circles, links elsewhere, deep folders, pipes."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.files.walk import walk_files, warn_of_left_out


def names(root: Path, paths: list[Path]) -> list[str]:
    return [str(path.relative_to(root)) for path in paths]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`a/1`, `a/b/2`, `c`, and what is hidden."""
    root = tmp_path / "data"
    (root / "a" / "b").mkdir(parents=True)
    for name in ("a/1", "a/b/2", "c", ".hidden", "a/Thumbs.db"):
        (root / name).touch()
    return root


def test_files_come_in_order_without_hidden_ones(root: Path) -> None:
    assert names(root, walk_files(root).files) == ["a/1", "a/b/2", "c"]


@pytest.mark.parametrize("target", [".", "..", "../..", "/"])
def test_a_link_that_leads_back_is_not_followed(root: Path, target: str) -> None:
    (root / "a" / "back").symlink_to(target)
    (root / "a" / "b" / "again").symlink_to(target)
    found = walk_files(root)
    assert names(root, found.files) == ["a/1", "a/b/2", "c"]
    assert names(root, found.not_followed) == ["a/b/again", "a/back"]


def test_of_a_part_the_links_into_other_parts_are_not_followed(root: Path) -> None:
    (root / "b").mkdir()
    (root / "b" / "up").symlink_to("..")
    (root / "b" / "across").symlink_to("../a")
    assert walk_files(root / "b", root).files == []
    (root / "b" / "up").unlink()
    assert names(root, walk_files(root / "b").files) == ["b/across/1", "b/across/b/2"], "control"


def test_a_folder_elsewhere_is_followed_once(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "3").touch()
    (elsewhere / "deep" / "circle").symlink_to(elsewhere)
    (root / "x").symlink_to(elsewhere)
    (root / "y").symlink_to(elsewhere)
    found = walk_files(root)
    assert names(root, found.files) == ["a/1", "a/b/2", "c", "x/deep/3"]
    assert names(root, found.not_followed) == ["x/deep/circle", "y"]


def test_below_a_linked_part_a_link_to_its_parent_leads_back(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for name in ("cats", "dogs"):
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / name / "1").touch()
    (elsewhere / "cats" / "up").symlink_to("..")
    (root / "train").symlink_to(elsewhere)
    assert names(root, walk_files(root / "train" / "cats", root).files) == ["train/cats/1"]


def test_folders_nested_deeper_than_the_stack(tmp_path: Path) -> None:
    depth, here = 1200, os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_CREAT, dir_fd=here))
    os.close(here)
    try:
        (found,) = walk_files(tmp_path).files
        assert len(found.relative_to(tmp_path).parts) == depth + 1
    finally:  # shutil, which pytest tidies up with, cannot remove them
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_pipes_and_broken_links(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(root / "pipe")
    (root / "broken").symlink_to("nothing")
    (root / "self").symlink_to("self")
    (root / "loop").symlink_to(".")
    found = walk_files(root)
    assert names(root, found.files) == ["a/1", "a/b/2", "broken", "c", "self"]
    assert names(root, found.special) == ["pipe"]
    with caplog.at_level(logging.WARNING):
        warn_of_left_out(root, [found])
    assert [record.getMessage() for record in caplog.records] == [
        f"data: {root}: links that lead back into the data, not followed: 1 (loop)",
        f"data: {root}: pipes, sockets or devices, left out: 1 (pipe)",
    ]


def test_a_folder_that_is_gone_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folder cannot be read"):
        walk_files(tmp_path / "nothing")


def test_a_device_is_no_folder() -> None:
    with pytest.raises(UserError, match="data: /dev/null: no folder but a pipe, socket or device"):
        walk_files(Path("/dev/null"))
