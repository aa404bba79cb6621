"""Prepared texts that are not what was written are neither trained on nor a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import horovod.tensorflow
import numpy as np
import pytest

import hvdcore.keras
from hvdcore.errors import UserError
from hvdcore.runtime.world import World
from news_cls.config import TrainConfig
from news_cls.data import dataset
from news_cls.data.prepare import prepare
from news_cls.testing import news, write_official
from news_cls.training.task import open_texts


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One rank with no launcher."""
    yield hvdcore.keras.init()
    horovod.tensorflow.shutdown()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """A table, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return TrainConfig(data=str(write_official(tmp_path / "news.csv", news(40))))


def test_flipped_labels_are_refused(config: TrainConfig, world: World) -> None:
    data = prepare(config)
    assert len(open_texts(config, world).splits["train"]) == len(data.splits["train"])
    labels = np.load(data.path / dataset.LABELS)
    np.save(data.path / dataset.LABELS, labels[::-1].copy())
    with pytest.raises(UserError, match=rf"{dataset.LABELS} does not have the SHA-256"):
        open_texts(config, world)


@pytest.mark.parametrize("name", [dataset.IDS, dataset.TEXTS, dataset.VOCABULARY])
def test_a_truncated_file_is_prepared_again(config: TrainConfig, name: str) -> None:
    path = prepare(config).path
    whole = (path / name).read_bytes()
    (path / name).write_bytes(whole[:-3])
    with pytest.raises(UserError, match=f"{name} has {len(whole) - 3} bytes"):
        dataset.open_data(path)
    assert prepare(config).path == path
    assert (path / name).read_bytes() == whole
