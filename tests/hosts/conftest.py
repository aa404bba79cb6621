"""Hosts of a test's own, a training on them, and the same training undisturbed on one host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hvdcore.testing_elastic import RunOnHosts
from hvdcore.testing_hosts import TestNetwork, missing_for_hosts
from hvdcore.testing_runs import Run
from textgen.testing import TINY, command, environment, train, write_book

FLAGS = ("--max-steps", "80", "--eval-every", "80", "--checkpoint-every", "4", "--log-every", "1")


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_book(tmp_path_factory.mktemp("book") / "book.txt", num_words=2000)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, book: Path) -> Run:
    """On two ranks of one host."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return train(folder / "run", book, *FLAGS, "--np", "2", timeout=900).check()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[TestNetwork]:
    if reason := missing_for_hosts():
        pytest.skip(reason)
    with TestNetwork(tmp_path / "network") as switch:
        yield switch


@pytest.fixture
def training(tmp_path: Path, network: TestNetwork, book: Path) -> RunOnHosts:
    """textgen, not yet started."""
    path = tmp_path / "run"
    line = command("train", "--data", str(book), "--output-dir", str(path), *TINY, *FLAGS)
    return RunOnHosts(network, tmp_path, path, line, environment(tmp_path / "cache"))
