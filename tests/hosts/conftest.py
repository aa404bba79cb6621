"""Hosts of a test's own, trainings on them, and the same trainings undisturbed on one host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import image_cls.testing
import news_cls.testing
import textgen.testing
from hvdcore.testing_elastic import RunOnHosts
from hvdcore.testing_hosts import TestNetwork, missing_for_hosts
from hvdcore.testing_runs import Run

FLAGS = ("--max-steps", "80", "--eval-every", "80", "--checkpoint-every", "4", "--log-every", "1")
TRAINERS: dict[str, Any] = {
    "textgen": textgen.testing, "image_cls": image_cls.testing, "news_cls": news_cls.testing,
}  # fmt: skip


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return textgen.testing.write_book(tmp_path_factory.mktemp("book") / "book.txt", num_words=2000)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, book: Path) -> dict[str, Path]:
    """A few samples for each trainer."""
    folder = tmp_path_factory.mktemp("data")
    return {
        "textgen": book,
        "image_cls": image_cls.testing.write_scenes(folder / "scenes", 12),
        "news_cls": news_cls.testing.write_sample(folder / "news"),
    }


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, book: Path) -> Run:
    """textgen on two ranks of one host."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return textgen.testing.train(folder / "run", book, *FLAGS, "--np", "2", timeout=900).check()


@pytest.fixture(scope="session")
def undisturbed_keras(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Path]) -> Run:
    """image_cls on two ranks of one host."""
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    flags = ("--model", "mlp", *FLAGS, "--np", "2")
    return image_cls.testing.train(path, data["image_cls"], *flags).check()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[TestNetwork]:
    if reason := missing_for_hosts():
        pytest.skip(reason)
    with TestNetwork(tmp_path / "network") as switch:
        yield switch


@pytest.fixture
def make_training(
    tmp_path: Path, network: TestNetwork, data: dict[str, Path]
) -> Callable[..., RunOnHosts]:
    """Makes a trainer's run, not yet started: its name, the run directory's, and flags."""

    def make(trainer: str, name: str, *flags: str) -> RunOnHosts:
        testing = TRAINERS[trainer]
        path = tmp_path / name
        folder = path.with_name(f"{name}-launcher")
        folder.mkdir()
        line = testing.command(
            "train", "--data", str(data[trainer]), "--output-dir", str(path), *testing.TINY, *flags
        )
        env = testing.environment(tmp_path / "cache")
        return RunOnHosts(network, folder, path, line, env)

    return make


@pytest.fixture
def training(make_training: Callable[..., RunOnHosts]) -> RunOnHosts:
    """textgen, not yet started."""
    return make_training("textgen", "run", *FLAGS)


@pytest.fixture
def keras_training(make_training: Callable[..., RunOnHosts]) -> RunOnHosts:
    """image_cls, not yet started."""
    return make_training("image_cls", "run", "--model", "mlp", *FLAGS)
