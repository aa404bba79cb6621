"""One rank per host prepares and the others open, or all open what the launcher prepared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hvdcore.classifier.prepared import handed_over
from hvdcore.runtime.environment import PREPARED_DATA
from hvdcore.testing.ranks import run_ranks
from news_cls.check import check_before_start
from news_cls.config import TrainConfig
from news_cls.testing import news, write_official

SCRIPT = """
import os
import hvdcore.keras
from hvdcore.testing.ranks import save_result
from news_cls.config import TrainConfig
from news_cls.training import task

world = hvdcore.keras.init()
calls = []
prepare_here = task.prepare
task.prepare = lambda *arguments: calls.append(1) or prepare_here(*arguments)
data = task.open_texts(TrainConfig(data=os.environ["NEWS"]), world)
split = data.splits["train"]
save_result([len(calls), str(data.path), split.texts[0], split.ids[0].tolist(), len(split)])
"""


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data file, and an environment that a launcher's check may change."""
    monkeypatch.setenv(PREPARED_DATA, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job").mkdir()
    path = write_official(tmp_path / "news.csv", news(40))
    monkeypatch.setenv("NEWS", str(path))
    return path


def opened_on_two_ranks(folder: Path) -> list[list[object]]:
    """What each rank saw: calls of `prepare`, the folder, and the first text."""
    done = run_ranks(SCRIPT, 2, folder=folder / "job", controller="gloo").check()
    return [done.results[rank] for rank in range(2)]


@pytest.mark.ranks
def test_two_ranks_prepare_once(launcher: Path) -> None:
    first, second = opened_on_two_ranks(launcher.parent)
    assert (first[0], second[0]) == (1, 0)
    assert second[1:] == first[1:]
    assert first[-1] == 32


@pytest.mark.ranks
def test_what_the_launcher_prepared_is_not_prepared_again(launcher: Path) -> None:
    check_before_start(TrainConfig(data=str(launcher)), 2)
    launcher.unlink()  # whoever prepared again would not find it
    first, second = opened_on_two_ranks(launcher.parent)
    assert (first[0], second[0]) == (0, 0)
    assert first[-1] == second[-1] == 32


def test_only_the_same_data_is_handed_over(launcher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(data=str(launcher))
    assert handed_over(config) is None
    check_before_start(config, 2)
    path = handed_over(config)
    assert path is not None
    assert path.parent == launcher.parent / "cache" / "news_cls" / "texts"
    # What the preparation does not depend on may differ, and what it depends on may not.
    assert handed_over(config.model_copy(update={"num_train_texts": 8, "epochs": 9})) == path
    for change in ({"vocab_size": 50}, {"val_fraction": 0.2}, {"data": "sample"}):
        assert handed_over(config.model_copy(update=change)) is None
    monkeypatch.chdir(os.path.pardir)
    assert handed_over(config) is None
    monkeypatch.chdir(launcher.parent)
    (path / "meta.json").unlink()
    assert handed_over(config) is None
