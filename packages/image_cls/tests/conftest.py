"""Images that all tests share, and one thread: the models are tiny, and the cores are shared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from image_cls.testing import write_scenes

# TensorFlow reads them when it is loaded, which no module has done yet.
for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[name] = "1"


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaggle's layout, doubled folders: 66 images in train and 25 in test, six classes."""
    root = tmp_path_factory.mktemp("scenes")
    write_scenes(root / "seg_train" / "seg_train", 11)
    write_scenes(root / "seg_test" / "seg_test", 5, first=100, classes=5)
    return root


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test writes into the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def pytest_configure(config: pytest.Config) -> None:
    """Keras 3.15 saves weights in a way that NumPy 2 will stop to offer."""
    ignored = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    config.addinivalue_line("filterwarnings", ignored)
