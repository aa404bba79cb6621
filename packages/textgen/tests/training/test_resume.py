"""Stopping and going on equals never having stopped, to the bit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from hvdcore.testing.runs import StoppedRun
from textgen.testing import TINY, Run, command, environment, train, write_book

pytestmark = pytest.mark.ranks

FLAGS = ("--max-steps", "40", "--eval-every", "20", "--checkpoint-every", "1", "--log-every", "1")
SIZE = ("--np", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def book(folder: Path) -> Path:
    return write_book(folder / "book.txt", num_words=2000)  # an epoch is 18 steps


@pytest.fixture(scope="module")
def undisturbed(folder: Path, book: Path) -> Run:
    return train(folder / "undisturbed", book, *FLAGS, *SIZE).check()


def stopped(folder: Path, name: str, book: Path, *flags: str) -> StoppedRun:
    line = ["train", "--data", str(book), "--output-dir", str(folder / name), "--resume", "auto"]
    return StoppedRun(
        folder / name, command(*line, *TINY, *FLAGS, *flags), environment(folder / "cache")
    )


def test_two_kills_change_nothing(folder: Path, book: Path, undisturbed: Run) -> None:
    draw, run = random.Random(1), stopped(folder, "two", book, *SIZE)
    assert sum(run.kill_at_random(draw) for _ in range(2)) >= 1
    run.finish_as(undisturbed)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(4))
def test_twenty_kills_change_nothing(folder: Path, book: Path, undisturbed: Run, seed: int) -> None:
    draw, run = random.Random(100 + seed), stopped(folder, f"twenty{seed}", book, *SIZE)
    kills = [run.kill_at_random(draw) for _ in range(5)]
    assert sum(kills) >= 3  # a quick machine may come to the end before a kill does
    run.finish_as(undisturbed)


# Its short form is the next test, which also loses the disk.
@pytest.mark.proof
def test_sigterm_saves_and_leaves_with_143(folder: Path, book: Path, undisturbed: Run) -> None:
    run = stopped(folder, "sigterm", book, *SIZE)
    run.terminate_after_a_checkpoint()
    assert max(run.checkpoints()) < "step-00000040"
    run.finish_as(undisturbed)


def test_an_empty_disk_is_filled_from_the_mirror(
    folder: Path, book: Path, undisturbed: Run
) -> None:
    run = stopped(folder, "mirrored", book, *SIZE, "--mirror", f"file://{folder / 'mirror'}")
    run.terminate_after_a_checkpoint()
    assert max(run.checkpoints()) < "step-00000040"
    shutil.rmtree(run.path)
    run.finish_as(undisturbed)


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_sigterm_while_the_corpus_is_read_ends_at_once(folder: Path, ranks: str) -> None:
    """Before the first step there is nothing to save, and reading may take hours."""
    book = write_book(folder / "long.txt", num_words=2_000_000)
    work = folder / "cache" / "work"
    run = stopped(folder, f"early{ranks}", book, "--np", ranks, "--tokenizer", "bpe")
    process = run.start()
    while process.poll() is None and not list(work.glob("*/read")):
        time.sleep(0.01)
    process.terminate()
    _, stderr = process.communicate(timeout=120)
    assert process.returncode in (143, -signal.SIGTERM), stderr
    assert stderr == ""
    assert not (run.path / "config.json").exists()


def test_another_number_of_ranks_goes_on_with_the_same_samples(
    folder: Path, book: Path, undisturbed: Run
) -> None:
    run = stopped(folder, "sizes", book)
    run.terminate_after_a_checkpoint(*SIZE)
    resumed = run.finish("--np", "3")
    assert resumed.report["size"] == 3
    # Equal losses at every step, within rounding: the batches were the same.
    assert resumed.losses("train") == pytest.approx(undisturbed.losses("train"), rel=1e-4)
    assert resumed.losses("val") == pytest.approx(undisturbed.losses("val"), abs=1e-4)


def test_a_checkpoint_of_another_model_is_refused(
    folder: Path, book: Path, undisturbed: Run
) -> None:
    """All differences are reported, and the run keeps what it had."""
    before = contents(undisturbed.path)
    run = train(
        undisturbed.path, book, *FLAGS, "--embed-dim", "32", "--seed", "3", "--resume", "auto",
    )  # fmt: skip
    assert run.returncode == 2
    assert [line.split("; ")[0] for line in run.stderr.splitlines()] == [
        "error: model.embed_dim: the checkpoint was written with 16, this run asks for 32",
        "error: seed: the checkpoint was written with 0, this run asks for 3",
        "error: resume: without its own settings a run cannot go on",
    ]
    assert contents(undisturbed.path) == before


def contents(run_dir: Path) -> dict[str, bytes]:
    """All files of a run but its logs and its lock."""
    files = (path for path in run_dir.rglob("*") if path.is_file())
    return {
        str(path): path.read_bytes() for path in files if path.parent.name not in ("logs", ".lock")
    }


@pytest.mark.parametrize("damage", ["none", "half-written"])
def test_a_run_without_a_whole_checkpoint_is_refused(
    folder: Path, book: Path, undisturbed: Run, damage: str
) -> None:
    bad = folder / f"checkpoint-{damage}"
    shutil.copytree(undisturbed.path, bad)
    for path in (bad / "checkpoints").iterdir():
        if damage == "none":
            shutil.rmtree(path)
        else:
            os.truncate(path / "model.safetensors", 100)
    run = train(folder / f"from-{damage}", book, *FLAGS, "--np", "2", "--resume", str(bad))
    assert run.returncode == 2
    *warnings, error = run.stderr.splitlines()
    assert error.startswith(f"error: resume: {bad / 'checkpoints'}: ")
    damaged = sorted((bad / "checkpoints").glob("step-*"), reverse=True)
    assert [line.split(": ")[1] for line in warnings] == [f"skipping {path}" for path in damaged]
    assert not run.path.exists()
