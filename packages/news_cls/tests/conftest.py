"""A cache of the tests' own, and one thread: the cores are shared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from news_cls.testing import write_sample

# TensorFlow reads them when it is loaded, which no module has done yet.
for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[name] = "1"

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test writes into the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def pytest_configure(config: pytest.Config) -> None:
    """Keras 3.15 saves weights in a way that NumPy 2 will stop to offer."""
    ignored = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    config.addinivalue_line("filterwarnings", ignored)


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """66 articles of the sample in train and 25 in test, in the official form."""
    return write_sample(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="session")
def ag_news() -> Path:
    """The real set for measuring, below HVD_DATA or beside the checkout; skips without it."""
    given = os.environ.get("HVD_DATA")
    data = Path(given) if given else Path(__file__).parents[4] / "shared" / "data"
    if not (data / "ag_news").is_dir():
        pytest.skip(f"no AG News at {data}; name the folder above ag_news in HVD_DATA")
    return data / "ag_news"
