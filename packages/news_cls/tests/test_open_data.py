"""One rank of a host prepares, the others open: real ranks see the same texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hvdcore.testing.ranks import run_ranks
from news_cls.testing import news, write_official

pytestmark = pytest.mark.ranks

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
part = data.parts["train"]
save_result([len(calls), str(data.path), part.texts[0], part.ids[0].tolist(), len(part)])
"""


def test_two_ranks_prepare_once(tmp_path: Path) -> None:
    path = write_official(tmp_path / "news.csv", news(40))
    (tmp_path / "job").mkdir()
    env = {"NEWS": str(path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    env |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    done = run_ranks(SCRIPT, 2, folder=tmp_path / "job", controller="gloo", env=env).check()
    prepared, *seen = done.results[0]
    assert prepared == 1
    assert done.results[1] == [0, *seen]
    assert seen[-1] == 32
