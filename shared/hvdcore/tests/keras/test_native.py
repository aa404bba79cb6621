"""A Horovod built for another TensorFlow is told apart before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("keras")

from hvdcore.errors import UserError
from hvdcore.keras.collectives import check_build


def record(folder: Path, **versions: str) -> Path:
    path = folder / "metadata.json"
    path.write_text(json.dumps(versions), encoding="utf-8")
    return path


def test_equal_versions_pass(tmp_path: Path) -> None:
    check_build(record(tmp_path, tensorflow="2.21.0", pytorch="2.13.0"), "2.21.0")


def test_other_version_names_both_and_the_fix(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"for TensorFlow 2\.20\.0, but 2\.21\.0 is .*pip install"):
        check_build(record(tmp_path, tensorflow="2.20.0"), "2.21.0")


def test_build_without_tensorflow(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="built without TensorFlow"):
        check_build(record(tmp_path, pytorch="2.13.0"), "2.21.0")


def test_missing_record(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metadata\.json is missing"):
        check_build(tmp_path / "metadata.json", "2.21.0")
