"""The first loss or gradient that is not finite ends the run on all ranks, in one line; what was
saved before stays, and the run goes on from there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from hvdcore.launch.job.controllers import find_program
from hvdcore.sharding import epoch_order
from hvdcore.testing.runs import Run, run_command
from textgen.testing import TINY, environment, train, write_book

pytestmark = pytest.mark.ranks

MPI = (str(find_program("mpirun")), "--oversubscribe", "-np", "2")
FAULT = """
import os, sys
from textgen.model.language_model import LanguageModel

loss, calls = LanguageModel.loss, 0


def faulty(self, *arguments, **named):
    global calls
    value = loss(self, *arguments, **named)
    if os.environ["OMPI_COMM_WORLD_RANK"] == "1" and value.requires_grad:
        calls += 1
        if calls == 6:
            if what == "loss":
                return value * float("nan")
            value.register_hook(lambda gradient: gradient * float("nan"))
    return value


LanguageModel.loss = faulty
what = sys.argv.pop(1)
from textgen.cli import app

app()
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_book(tmp_path_factory.mktemp("book") / "book.txt", num_words=2000)


def test_far_too_high_a_learning_rate(tmp_path: Path, book: Path) -> None:
    run = train(tmp_path / "run", book, "--learning-rate", "1e30", "--max-steps", "20")
    assert run.returncode == 2
    errors = [line for line in run.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "is not finite" in errors[0]
    assert "lower --learning-rate" in errors[0]
    assert "Traceback" not in run.stderr
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_where_one_rank_alone_is_bad(tmp_path: Path, book: Path, what: str) -> None:
    program = tmp_path / "faulty.py"
    program.write_text(FAULT)
    out = tmp_path / "run"
    flags = ["--max-steps", "8", "--checkpoint-every", "2", "--eval-every", "100"]
    line = [*MPI, sys.executable, str(program), what, "train", "--data", str(book)]
    line += ["--output-dir", str(out), *TINY, *flags]
    run = run_command(out, line, environment(tmp_path / "cache"), timeout=300)
    assert run.returncode == 2
    text = run.stderr + run.stdout
    assert f"step 6: the {what} is not finite" in text
    if what == "loss":
        assert "on rank 1;" in text
    assert "Traceback" not in text
    kept = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert any("4" in name for name in kept)
    assert not any("6" in name for name in kept)
    if what == "gradient":
        # Without the fault it goes on from there: the checkpoint is good.
        again = train(out, book, *flags, "--resume", "auto", launcher=MPI, cache=tmp_path / "cache")
        assert again.returncode == 0, again.stderr


POISON = """
import sys
from textgen.training import train

step = train.train_step
what = sys.argv.pop(1)


def poisoned(state, *arguments, **named):
    if state.counters.step == 5:
        module = state.model.get_submodule("model.layers.1.mlp.down_proj")
        if what == "weight":
            module.weight.data[0, 0] = float("nan")
        else:
            def poison(module, inputs, output):
                if output.requires_grad:
                    output.register_hook(lambda gradient: gradient * float("nan"))
            module.register_forward_hook(poison)
    return step(state, *arguments, **named)


train.train_step = poisoned
from textgen.cli import app

app()
"""


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("weight", "the loss is not finite (nan) on rank 0 (samples {}, first in the output"),
        ("gradient", "the gradient is not finite (nan) on rank 0 (samples {}, first in the gradient"
         " at the output"),
    ],
    ids=["weight", "gradient"],
)  # fmt: skip
def test_the_samples_and_the_module_are_named(
    tmp_path: Path, book: Path, what: str, found: str
) -> None:
    """All three micro-batches are bad; the first is named."""
    program = tmp_path / "poisoned.py"
    program.write_text(POISON)
    out = tmp_path / "run"
    flags = ["--max-steps", "8", "--checkpoint-every", "2", "--eval-every", "100"]
    flags += ["--per-rank-batch-size", "4"]
    line = [sys.executable, str(program), what, "train", "--data", str(book)]
    line += ["--output-dir", str(out), *TINY, *flags]
    run = run_command(out, line, environment(tmp_path / "cache"), timeout=300)
    assert run.returncode == 2, run.stderr
    (error,) = [line for line in run.stderr.splitlines() if line.startswith("error:")]
    # 12 of 8,133 // 16 blocks a step, in the order of epoch 0: the sixth twelve.
    samples = ", ".join(map(str, epoch_order(num_blocks(run), 0, 0)[60:64]))
    assert f"step 6: {found.format(f'{samples} of the train split')}" in error
    assert "output of model.layers.1.mlp.down_proj)" in error
    command = error.partition("To make this step again: ")[2]
    assert command == (
        f"textgen train --config {out}/config.json --output-dir {out}-again --resume {out}"
    )
    # Without the poison the step is a good one.
    again = run_command(
        out, [sys.executable, "-m", *shlex.split(command)], environment(tmp_path / "cache"), 300
    )
    assert again.returncode == 0, again.stderr


def num_blocks(run: Run) -> int:
    """Sequences of the train split."""
    tokens = re.search(r"tokens: train ([\d,]+)", run.stderr + run.stdout)
    assert tokens is not None
    return int(tokens[1].replace(",", "")) // 16
