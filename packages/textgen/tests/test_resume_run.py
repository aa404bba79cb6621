"""Stopping and going on equals never having stopped, to the bit."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

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


def start(run_dir: Path, book: Path, *flags: str) -> subprocess.Popen[str]:
    line = ["train", "--data", str(book), "--output-dir", str(run_dir), "--resume", "auto"]
    return subprocess.Popen(
        command(*line, *TINY, *FLAGS, *flags),
        env=environment(run_dir.parent / "cache"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def checkpoints(run_dir: Path, pattern: str = "step-*") -> set[str]:
    return {path.name for path in (run_dir / "checkpoints").glob(pattern)}


def wait_for(run_dir: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Until a checkpoint appears that was not there, or the run ends."""
    before = checkpoints(run_dir, pattern)
    while process.poll() is None and not checkpoints(run_dir, pattern) - before:
        time.sleep(0.001)


def rank_pids(launcher: subprocess.Popen[str]) -> list[int]:
    family = psutil.Process(launcher.pid).children(recursive=True)
    return [p.pid for p in family if "HVDCORE_SUPERVISED" in p.environ()]


def kill_at_random(run_dir: Path, book: Path, draw: random.Random) -> bool:
    """Start or go on, and SIGKILL one rank at a random moment, or while a checkpoint is written.

    Returns:
        Whether the kill came before the run's end.
    """
    process = start(run_dir, book, *SIZE)
    wait_for(run_dir, "step-*", process)
    if draw.random() < 0.5:
        wait_for(run_dir, ".writing-*", process)
    else:
        time.sleep(draw.uniform(0.0, 0.05))  # some steps: a run has forty
    for pid in draw.sample(pids := rank_pids(process), k=min(1, len(pids))):
        signal_if_there(pid, signal.SIGKILL)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode in (0, 1), stderr
    if process.returncode == 1:
        assert "killed by SIGKILL" in stderr
    return process.returncode == 1


def signal_if_there(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def finish_and_compare(run_dir: Path, book: Path, undisturbed: Run) -> None:
    process = start(run_dir, book, *SIZE)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    resumed = Run(run_dir, 0, "", stderr)
    assert resumed.report["weights_sha256"] == undisturbed.report["weights_sha256"]
    assert resumed.losses("train") == undisturbed.losses("train")
    assert resumed.losses("val") == undisturbed.losses("val")


def test_three_kills_change_nothing(folder: Path, book: Path, undisturbed: Run) -> None:
    draw = random.Random(1)
    assert sum(kill_at_random(folder / "three", book, draw) for _ in range(3)) >= 2
    finish_and_compare(folder / "three", book, undisturbed)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(4))
def test_twenty_kills_change_nothing(folder: Path, book: Path, undisturbed: Run, seed: int) -> None:
    draw = random.Random(100 + seed)
    kills = [kill_at_random(folder / f"twenty{seed}", book, draw) for _ in range(5)]
    assert sum(kills) >= 3  # a quick machine may come to the end before a kill does
    finish_and_compare(folder / f"twenty{seed}", book, undisturbed)


def test_sigterm_saves_and_leaves_with_143(folder: Path, book: Path, undisturbed: Run) -> None:
    run_dir = folder / "sigterm"
    process = start(run_dir, book, *SIZE)
    wait_for(run_dir, "step-*", process)
    process.terminate()
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 143, stderr
    stopped_at = max(checkpoints(run_dir))
    assert stopped_at < "step-00000040"
    finish_and_compare(run_dir, book, undisturbed)


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_sigterm_while_the_corpus_is_read_ends_at_once(folder: Path, ranks: str) -> None:
    """Before the first step there is nothing to save, and reading may take hours."""
    book = write_book(folder / "long.txt", num_words=2_000_000)
    run_dir, work = folder / f"early{ranks}", folder / "cache" / "work"
    process = start(run_dir, book, "--np", ranks, "--tokenizer", "bpe")
    while process.poll() is None and not list(work.glob("*/text*")):
        time.sleep(0.01)
    process.terminate()
    _, stderr = process.communicate(timeout=120)
    assert process.returncode in (143, -signal.SIGTERM), stderr
    assert stderr == ""
    assert not (run_dir / "config.json").exists()


def test_another_number_of_ranks_goes_on_with_the_same_samples(
    folder: Path, book: Path, undisturbed: Run
) -> None:
    run_dir = folder / "sizes"
    process = start(run_dir, book, *SIZE)
    wait_for(run_dir, "step-*", process)
    process.terminate()
    process.communicate(timeout=120)
    assert process.returncode == 143
    process = start(run_dir, book, "--np", "3")
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    resumed = Run(run_dir, 0, "", stderr)
    assert resumed.report["size"] == 3
    # Equal losses at every step, within rounding: the batches were the same.
    assert resumed.losses("train") == pytest.approx(undisturbed.losses("train"), rel=1e-4)
    assert resumed.losses("val") == pytest.approx(undisturbed.losses("val"), abs=1e-4)


def test_a_checkpoint_of_another_model_is_refused(
    folder: Path, book: Path, undisturbed: Run
) -> None:
    """All that differs is told, and the run keeps what it had."""
    before = contents(undisturbed.path)
    run = train(
        undisturbed.path, book, *FLAGS, "--embed-dim", "32", "--seed", "3", "--resume", "auto",
    )  # fmt: skip
    assert run.returncode == 2
    assert [line.split("; ")[0] for line in run.stderr.splitlines()] == [
        "error: model.embed_dim: the checkpoint was written with 16, this run asks for 32",
        "error: seed: the checkpoint was written with 0, this run asks for 3",
    ]
    assert contents(undisturbed.path) == before


def contents(run_dir: Path) -> dict[str, bytes]:
    """All files of a run but its logs."""
    files = (path for path in run_dir.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files if path.parent.name != "logs"}


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
    errors = [line for line in run.stderr.splitlines() if not line.startswith("warning: passing")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: resume: {bad / 'checkpoints'}: ")
    assert not run.path.exists()
