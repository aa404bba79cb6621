"""A Slurm cluster of the tests', a training on it, and the same training outside of Slurm."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvdcore.testing.runs import Run
from hvdcore.testing.slurm import SlurmRun, TestCluster, missing_for_slurm
from textgen.testing import TINY, environment, train, write_book

FLAGS = ("--max-steps", "100", "--eval-every", "100", "--checkpoint-every", "4", "--log-every", "1")


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_book(tmp_path_factory.mktemp("book") / "book.txt", num_words=2000)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, book: Path) -> Run:
    """On two ranks of one host, without Slurm."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return train(folder / "run", book, *FLAGS, "--np", "2", timeout=900).check()


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[TestCluster]:
    """Two nodes. The parameter is Slurm's way to know a job's processes."""
    if reason := missing_for_slurm():
        pytest.skip(reason)
    # Not under pytest's folder: the paths of sockets in it would be too long.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with TestCluster(
            folder, ("first", "second"), 2, getattr(request, "param", "pgid")
        ) as found:
            yield found
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def training(tmp_path: Path, cluster: TestCluster, book: Path) -> SlurmRun:
    """textgen, not yet submitted."""
    path = tmp_path / "run"
    places = ("--data", str(book), "--output-dir", str(path))
    command = ("textgen", "train", *places, *TINY, *FLAGS)
    return SlurmRun(cluster, tmp_path, path, command, environment(tmp_path / "cache"))
