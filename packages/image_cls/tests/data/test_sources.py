"""Downloading by name, against a fake kagglehub: no network in tests."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from hvdcore.errors import UserError
from image_cls.data.sources import find_source
from image_cls.testing import write_scenes


def put_in(monkeypatch: pytest.MonkeyPatch, download: object) -> None:
    module = ModuleType("kagglehub")
    module.dataset_download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kagglehub", module)


def test_a_name_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(handle: str) -> str:
        asked.append(handle)
        write_scenes(tmp_path / "seg_train" / "seg_train", 2)
        return str(tmp_path)

    put_in(monkeypatch, download)
    source = find_source("owner/scenes")
    assert asked == ["owner/scenes"]
    assert len(source) == 12


def test_a_failure_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(handle: str) -> str:
        raise ConnectionError("403 Client Error\nmore\nlines")

    put_in(monkeypatch, download)
    with pytest.raises(UserError, match=r"Kaggle download failed \(403 Client Error\)"):
        find_source("nobody/nothing")


def test_without_kagglehub_the_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(UserError, match=r"needs kagglehub; pip install"):
        find_source("nobody/nothing")


def test_a_misspelt_sample_is_no_name() -> None:
    with pytest.raises(UserError, match="did you mean 'sample'"):
        find_source("sampel")
