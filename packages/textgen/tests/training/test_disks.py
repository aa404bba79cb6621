"""A disk that is read-only or full: one line, exit 2, and what was whole stays whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hvdcore.run.checkpoint import latest_valid
from hvdcore.testing.faults import NoDisk, small_disk
from textgen.testing import train, write_book

FLAGS = ("--max-steps", "40", "--checkpoint-every", "1")


@pytest.fixture(params=["full", "read-only"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """What is wrong with it, and where it is. The full one holds a few checkpoints."""
    is_read_only = request.param == "read-only"
    try:
        with small_disk(tmp_path / "disk", kilobytes=400, is_read_only=is_read_only) as folder:
            yield request.param, folder
    except NoDisk as reason:
        pytest.skip(str(reason))


@pytest.mark.ranks
@pytest.mark.parametrize("ranks", ["1", "2"])
def test_a_run_on_a_bad_disk(tmp_path: Path, disk: tuple[str, Path], ranks: str) -> None:
    problem, folder = disk
    book = write_book(tmp_path / "book.txt", num_words=2000)
    if problem == "full":
        (folder / "others").write_bytes(bytes(180_000))
    run = train(folder / "run", book, *FLAGS, "--np", ranks, cache=tmp_path / "cache")
    assert run.returncode == 2, run.stderr
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert run.stderr.splitlines() == errors
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {folder / 'run'}")
    assert problem in errors[0]
    assert "give another --output-dir" in errors[0]
    if problem == "full":
        assert latest_valid(run.path / "checkpoints") is not None
        assert not list(run.path.rglob(".writing-*"))
