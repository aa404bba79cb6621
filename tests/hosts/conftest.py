"""Hosts of a test's own, trainings on them, and the same trainings undisturbed on one host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import image_cls.testing
import news_cls.testing
import textgen.testing
from hvdcore.testing.hosts import TestNetwork, missing_for_hosts
from hvdcore.testing.runs import Run, RunOnHosts

FLAGS = ("--max-steps", "80", "--eval-every", "80", "--checkpoint-every", "4", "--log-every", "1")
TRAINERS: dict[str, Any] = {
    "textgen": textgen.testing, "image_cls": image_cls.testing, "news_cls": news_cls.testing,
}  # fmt: skip
MODELS = {"image_cls": ("--model", "mlp")}
"""Where another one than TINY's starts faster."""


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
def run_undisturbed(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Path]
) -> Callable[[str], Run]:
    """Runs a trainer on two ranks of one host, once a session."""

    @cache
    def run(trainer: str) -> Run:
        path = tmp_path_factory.mktemp("undisturbed") / "run"
        flags = (*MODELS.get(trainer, ()), *FLAGS, "--np", "2")
        done: Run = TRAINERS[trainer].train(path, data[trainer], *flags, timeout=900)
        return done.check()

    return run


@pytest.fixture(scope="session")
def undisturbed(run_undisturbed: Callable[[str], Run]) -> Run:
    """textgen."""
    return run_undisturbed("textgen")


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
    """Makes a trainer's run, not yet started: its name, the run directory's, and other flags than
    those of the undisturbed run."""

    def make(trainer: str, name: str, *flags: str) -> RunOnHosts:
        testing = TRAINERS[trainer]
        path = tmp_path / name
        folder = path.with_name(f"{name}-launcher")
        folder.mkdir()
        chosen = (*MODELS.get(trainer, ()), *(flags or FLAGS))
        line = testing.command(
            "train", "--data", str(data[trainer]), "--output-dir", str(path), *testing.TINY, *chosen
        )
        env = testing.environment(tmp_path / "cache")
        return RunOnHosts(network, folder, path, line, env)

    return make


@pytest.fixture
def training(make_training: Callable[..., RunOnHosts]) -> RunOnHosts:
    """textgen, not yet started."""
    return make_training("textgen", "run")
