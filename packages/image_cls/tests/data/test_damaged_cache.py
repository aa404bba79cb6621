"""Prepared images that are not what was written are neither trained on nor a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import horovod.tensorflow
import numpy as np
import pytest

import hvdcore.keras
from hvdcore.errors import UserError
from hvdcore.runtime.world import World
from image_cls.config import TrainConfig
from image_cls.data.dataset import LABELS, PIXELS, open_data
from image_cls.data.prepare import prepare
from image_cls.testing import write_scenes
from image_cls.train import open_task


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One rank with no launcher."""
    yield hvdcore.keras.init()
    horovod.tensorflow.shutdown()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """A folder of images, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_scenes(tmp_path / "data", 8)
    return TrainConfig(data=str(root), image_size=16, val_fraction=0, test_fraction=0)


def test_flipped_labels_are_refused(config: TrainConfig, world: World) -> None:
    data = prepare(config)
    assert len(open_task(config, world).data.splits["train"]) == len(data.splits["train"])
    labels = np.load(data.path / LABELS)
    np.save(data.path / LABELS, labels[::-1].copy())
    with pytest.raises(UserError, match=rf"{LABELS} does not have the SHA-256"):
        open_task(config, world)


def test_a_truncated_array_is_prepared_again(config: TrainConfig) -> None:
    path = prepare(config).path
    whole = (path / PIXELS).read_bytes()
    (path / PIXELS).write_bytes(whole[:-100])
    with pytest.raises(UserError, match=f"{PIXELS} has {len(whole) - 100} bytes"):
        open_data(path)
    assert prepare(config).path == path
    assert (path / PIXELS).read_bytes() == whole


def test_a_cache_of_an_earlier_version_is_still_opened(config: TrainConfig, world: World) -> None:
    path = prepare(config).path
    meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    del meta["checksums"]
    (path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    before = path.stat().st_ino
    assert open_task(config, world).data.path == path
    assert path.stat().st_ino == before, "it was prepared again"
