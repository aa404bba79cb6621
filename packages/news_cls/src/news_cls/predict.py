"""``news-cls predict``: the class of texts, from the command line, files or standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.model_folder import load_classes
from hvdcore.classifier.predictions import FORMS, Prediction
from hvdcore.errors import Problems
from hvdcore.files.atomic import write_bytes_atomically
from hvdcore.run.run_dir import RunDir
from news_cls.data.clean import clean
from news_cls.model.tfidf import is_tfidf, load_tfidf

__all__ = ["predict_command", "predict_texts"]

BATCH_SIZE = 64
Answer = Callable[[Sequence[str]], npt.NDArray[np.float64]]
"""Texts to log-probabilities float64 [n, C]."""


def predict_command(
    run_dir: Path, inputs: Sequence[Path], texts: Sequence[str], form: str, output: Path | None
) -> None:
    """Classify texts and print or write the answers as they come.

    Args:
        inputs: files with a text on each line; `-` is standard input. Without inputs and texts,
            standard input is read.
        form: csv, json or jsonl.

    Raises:
        UserError: no run, no such file, or another form.
    """
    problems = Problems()
    if form not in FORMS:
        problems.add("format", f"got {form!r}; give {' or '.join(FORMS)}")
    for path in inputs:
        if str(path) != "-" and not path.is_file():
            problems.add("input", f"{path}: no such file; give files with a text on each line")
    folder = RunDir(run_dir).model
    with problems.catching():
        folder = RunDir.open(run_dir).model
        if not is_tfidf(folder):
            load_classes(folder)
    problems.raise_if_any()
    answer, classes = load_answer(folder)
    predictions = predict_texts(answer, _texts(inputs, texts))
    lines = FORMS[form](predictions, classes, "text")
    if output is not None:
        write_bytes_atomically(output, "".join(lines).encode("utf-8", "replace"))
        return
    for line in lines:
        sys.stdout.write(line)
        sys.stdout.flush()


def _texts(inputs: Sequence[Path], texts: Sequence[str]) -> Iterator[str]:
    yield from texts
    for path in inputs or ([] if texts else [Path("-")]):
        if str(path) == "-":
            yield from _lines(sys.stdin.buffer)
        else:
            with path.open("rb") as file:
                yield from _lines(file)


def _lines(file: Iterable[bytes]) -> Iterator[str]:
    for line in file:
        yield line.decode("utf-8-sig", "replace").rstrip("\r\n")


def predict_texts(answer: Answer, texts: Iterable[str]) -> Iterator[Prediction]:
    """The answers in order; texts without words are named and skipped."""
    waiting = iter(texts)
    while batch := list(islice(waiting, BATCH_SIZE)):
        filled = [text for text in batch if clean(text)[0]]
        answers = iter(np.exp(answer(filled)))
        for text in batch:
            if clean(text)[0]:
                yield Prediction(text, tuple(next(answers).tolist()))
            else:
                yield Prediction(text, skipped="empty text")


def load_answer(folder: Path) -> tuple[Answer, tuple[str, ...]]:
    """How a run's model answers, and its classes.

    Args:
        folder: a run's `model/`.

    Raises:
        UserError: a file is missing or damaged.
    """
    if is_tfidf(folder):
        linear, classes = load_tfidf(folder)
        return lambda texts: linear.log_probabilities([clean(t)[0] for t in texts]), classes
    from hvdcore.classifier.keras import Answers, load_model
    from hvdcore.keras import init
    from news_cls.model import networks  # noqa: F401  (its layers are found by their names)
    from news_cls.model.vectorizer import string_batch

    init()
    answers = Answers(load_model(folder))

    def answer(texts: Sequence[str]) -> npt.NDArray[np.float64]:
        return answers((string_batch(texts, BATCH_SIZE),))[: len(texts)]

    return answer, load_classes(folder)
