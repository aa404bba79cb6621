"""On real books: both ways to start give the same run, and a real TensorBoard serves its curves."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import find_program
from textgen.testing import Run, environment, train

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HVD_DATA", ROOT.parent / "shared" / "data"))
FLAGS = (
    "--max-steps", "20", "--eval-every", "10", "--log-every", "2", "--context-length", "64",
    "--sample-tokens", "8",
)  # fmt: skip

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; set HVD_DATA"),
]


@pytest.fixture(scope="module", params=["books", "tinyshakespeare/input.txt"])
def corpus(request: pytest.FixtureRequest) -> Path:
    path: Path = DATA / request.param
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Run:
    return train(tmp_path_factory.mktemp("own") / "run", corpus, *FLAGS, "--np", "2").check()


def test_horovodrun_and_np_give_the_same_losses(
    tmp_path: Path, corpus: Path, launched: Run
) -> None:
    launcher = (str(find_program("horovodrun")), "-np", "2")
    run = train(tmp_path / "run", corpus, *FLAGS, launcher=launcher).check()
    assert run.losses("train") == launched.losses("train")
    assert run.losses("val") == launched.losses("val")
    assert run.report["weights_sha256"] == launched.report["weights_sha256"]
    first, last = run.losses("val")[0], run.losses("val")[20]
    assert first == pytest.approx(5.545, abs=0.05)  # ln 256: nothing learned yet
    assert last < first - 1


@pytest.fixture
def tensorboard(launched: Run) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(launched.path)]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(launched.path),
    ) as server:  # fmt: skip
        yield f"http://127.0.0.1:{port}/data/plugin/"
        server.kill()


def ask(url: str, body: object = None, seconds: float = 120.0) -> object:
    """The first answer that is not empty. TensorBoard reads the files a while after it starts."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                value: object = json.load(answer)
                if value:
                    return value
        except OSError:
            pass
        assert time.monotonic() < deadline, f"no answer from {url}"
        time.sleep(0.2)


def test_tensorboard_serves_the_curves(launched: Run, tensorboard: str) -> None:
    tags = ask(f"{tensorboard}scalars/tags")
    assert isinstance(tags, dict)
    names = set(tags["tensorboard"])
    assert {"train/loss", "train/perplexity", "train/learning_rate", "train/gradient_norm"} <= names
    assert {"train/tokens_per_second", "train/data_seconds", "train/compute_seconds"} <= names
    assert {"train/communicate_seconds", "val/loss", "val/bits_per_byte"} <= names
    assert {"val/perplexity", "test/loss"} <= names
    points = ask(f"{tensorboard}scalars/scalars?run=tensorboard&tag=val/loss")
    assert isinstance(points, list)
    served = {int(step): value for _, step, value in points}
    assert served == pytest.approx(launched.losses("val"), rel=1e-6)


def test_tensorboard_serves_the_text_and_the_hyperparameters(
    launched: Run, tensorboard: str
) -> None:
    texts = ask(f"{tensorboard}text/text?run=tensorboard&tag=sample")
    assert isinstance(texts, list)
    assert {text["step"] for text in texts} == set(launched.losses("val"))
    assert all("<code>" in text["text"] for text in texts)
    shown = ask(f"{tensorboard}hparams/experiment", {"experimentName": ""})
    assert isinstance(shown, dict)
    config = json.loads((launched.path / "config.json").read_text())
    given = {name for name, value in config.items() if value is not None}
    assert {info["name"] for info in shown["hparamInfos"]} == given
