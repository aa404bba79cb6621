"""Files that are not what was written: shorter, changed, missing; and manifests without digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.files.checksums import checksums, damaged_file, require_sizes, require_undamaged

Manifest = dict[str, object]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Two files, one of them in a folder, and their manifest."""
    (tmp_path / "labels").write_bytes(b"0123")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "words").write_bytes(b"abc")
    (tmp_path / "meta.json").write_text("{}", encoding="utf-8")
    return {"checksums": checksums(tmp_path, "meta.json")}


def test_every_file_but_the_manifest_is_in_it(manifest: Manifest) -> None:
    assert manifest["checksums"] == {
        "labels": {"bytes": 4, "sha256": hashlib.sha256(b"0123").hexdigest()},
        "sub/words": {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()},
    }


def test_a_changed_byte_is_found_by_the_digest_alone(tmp_path: Path, manifest: Manifest) -> None:
    require_undamaged(tmp_path, manifest)
    (tmp_path / "labels").write_bytes(b"0133")
    require_sizes(tmp_path, manifest)
    with pytest.raises(UserError, match="labels does not have the SHA-256") as caught:
        require_undamaged(tmp_path, manifest)
    assert str(tmp_path) in caught.value.problems[0]
    assert "delete that folder" in caught.value.problems[0]


def test_a_short_or_missing_file_is_found_without_reading(
    tmp_path: Path, manifest: Manifest
) -> None:
    (tmp_path / "sub" / "words").write_bytes(b"ab")
    assert damaged_file(tmp_path, manifest) == "sub/words has 2 bytes, not 3"
    with pytest.raises(UserError, match="sub/words has 2 bytes"):
        require_sizes(tmp_path, manifest)
    (tmp_path / "sub" / "words").unlink()
    with pytest.raises(UserError, match="sub/words: No such file"):
        require_sizes(tmp_path, manifest)


@pytest.mark.parametrize("old", [{}, {"checksums": 7}, {"checksums": {"labels": "x"}}])
def test_manifests_without_digests_are_taken_as_they_are(tmp_path: Path, old: Manifest) -> None:
    require_undamaged(tmp_path, old)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a\0b", "embedded null"),
        ("\udcff" + "x" * 300, "x"),
        ("/dev/zero", "'/dev/zero' is no file of this folder"),
        ("sub/../../other", "is no file of this folder"),
        ("sub", "sub is no file"),
        ("n" * 300, "File name too long"),
    ],
    ids=["nul", "surrogate", "device", "outside", "folder", "long"],
)
def test_names_that_are_no_files_are_one_line(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "sub").mkdir()
    manifest = {"checksums": {name: {"bytes": 0, "sha256": ""}}}
    with pytest.raises(UserError) as caught:
        require_undamaged(tmp_path, manifest)
    (line,) = caught.value.problems
    assert problem in line
    assert "delete that folder" in line
