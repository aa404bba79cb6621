"""The edits apply to the published source, exactly, or say which one does not and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from horovod_wheel.edits import apply_edits
from horovod_wheel.errors import BuildError
from horovod_wheel.key import PATCHES, PROJECT
from horovod_wheel.patch_file import read_edit, read_edits
from horovod_wheel.wheel import python_files


def test_every_edit_applies_to_the_published_source(tree: Path) -> None:
    apply_edits(read_edits(PATCHES), tree)
    assert "#include <stdexcept>\n" in (tree / "horovod/common/common.h").read_text()
    assert "#include <string>\n" in (tree / "horovod/common/group_table.h").read_text()
    assert "HOROVOD_BFLOAT16 = 10" in (tree / "horovod/common/message.h").read_text()
    core = [p for p in (tree / "horovod/common").rglob("*.[ch]*") if "cuda" not in p.parts]
    assert not [path for path in core if "__AVX__" in path.read_text(errors="replace")]


def test_the_wheels_python_knows_nothing_of_distutils(tree: Path) -> None:
    """Python 3.12 and later have none, and upstream's horovodrun imports it."""
    apply_edits(read_edits(PATCHES), tree)
    files = python_files(tree, PROJECT)
    assert len(files) > 100
    assert not [name for name, text in files.items() if b"distutils" in text]


def test_an_edit_applied_twice_is_refused(tree: Path) -> None:
    edits = read_edits(PATCHES)[:1]
    apply_edits(edits, tree)
    with pytest.raises(
        BuildError, match=r"^0003-\S+ does not apply to horovod/common/common.h: .*not found"
    ):
        apply_edits(edits, tree)


HUNK = "--- a/f.txt\n+++ b/f.txt\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n"


def write_patch(folder: Path, text: str) -> Path:
    path = folder / "0001-x.patch"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("one\ntwo\nthree\n", "one\nTWO\nthree\n"),
        ("zero\nzero\none\ntwo\nthree\n", "zero\nzero\none\nTWO\nthree\n"),  # moved by another edit
        ("one\ntwo\nthree", "one\nTWO\nthree"),
    ],
)
def test_a_hunk_is_found_by_its_whole_text(tmp_path: Path, before: str, after: str) -> None:
    (tmp_path / "f.txt").write_text(before)
    apply_edits([read_edit(write_patch(tmp_path, f"Reason: test\n{HUNK}"))], tmp_path)
    assert (tmp_path / "f.txt").read_text() == after


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("one\ntwo\nTHREE\n", "not found"),  # the context differs
        ("0\none\ntwo\nthree\none\ntwo\nthree\n", "found 2 times"),
    ],
)
def test_a_hunk_that_does_not_fit_changes_nothing(
    tmp_path: Path, before: str, message: str
) -> None:
    (tmp_path / "f.txt").write_text(before)
    edit = read_edit(write_patch(tmp_path, f"Reason: test\n{HUNK}"))
    with pytest.raises(BuildError, match=message):
        apply_edits([edit], tmp_path)
    assert (tmp_path / "f.txt").read_text() == before


def test_an_edit_can_add_a_file_inside_the_source_only(tmp_path: Path) -> None:
    new = "Reason: test\n--- /dev/null\n+++ b/{}\n@@ -0,0 +1,2 @@\n+a\n+b\n"
    apply_edits([read_edit(write_patch(tmp_path, new.format("d/new.txt")))], tmp_path)
    assert (tmp_path / "d/new.txt").read_text() == "a\nb\n"
    edit = read_edit(write_patch(tmp_path, new.format("../out.txt")))
    with pytest.raises(BuildError, match="outside"):
        apply_edits([edit], tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HUNK, "no 'Reason: ...' line"),
        ("Reason: test\n", "no hunk"),
        ("Reason: test\n" + HUNK.removesuffix(" three\n"), "not a whole unified diff"),
    ],
)
def test_a_malformed_patch_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BuildError, match=f"0001-x.patch.*{message}"):
        read_edit(write_patch(tmp_path, text))
