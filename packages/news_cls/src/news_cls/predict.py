"""The command ``predict``: the class of texts from the command line, files or standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.model_folder import load_classes
from hvdcore.classifier.predictions import (
    FORMATS,
    Prediction,
    find_model,
    for_spreadsheets,
    write_predictions,
)
from hvdcore.errors import Problems
from news_cls.data.clean import clean
from news_cls.model.tfidf import is_tfidf, load_tfidf

__all__ = ["predict_command", "predict_texts"]

BATCH_SIZE = 64
Predict = Callable[[Sequence[str]], npt.NDArray[np.float64]]
"""Texts to log-probabilities float64 [n, C]."""


def predict_command(
    run_dir: Path,
    inputs: Sequence[Path],
    texts: Sequence[str],
    output_format: str,
    output: Path | None,
    spreadsheet: bool = False,
) -> None:
    """Classify texts and print or write the predictions as they are computed.

    Args:
        inputs: files with one text per line; `-` is standard input. Without inputs and texts,
            standard input is read.
        output_format: csv, json or jsonl.
        spreadsheet: quote what a spreadsheet would compute.

    Raises:
        UserError: no run, no such file, or an unknown format.
    """
    problems = Problems()
    folder = find_model(run_dir, output_format, problems)
    for path in inputs:
        if str(path) != "-" and not path.is_file():
            problems.add("input", f"{path}: no such file; give files with one text per line")
    problems.raise_if_any()
    classes: Sequence[str]
    predict, classes = load_predict(folder)
    predictions = predict_texts(predict, _texts(inputs, texts))
    if spreadsheet:
        predictions, classes = for_spreadsheets(predictions, classes)
    write_predictions(FORMATS[output_format](predictions, classes, "text"), output)


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


def predict_texts(predict: Predict, texts: Iterable[str]) -> Iterator[Prediction]:
    """The predictions in order; texts without words are skipped with a reason."""
    waiting = iter(texts)
    while batch := list(islice(waiting, BATCH_SIZE)):
        nonempty = [text for text in batch if clean(text)[0]]
        probabilities = iter(np.exp(predict(nonempty)))
        for text in batch:
            if clean(text)[0]:
                yield Prediction(text, tuple(next(probabilities).tolist()))
            else:
                yield Prediction(text, skipped="empty text")


def load_predict(folder: Path) -> tuple[Predict, tuple[str, ...]]:
    """A function that predicts with a saved model, and the model's classes.

    Args:
        folder: the `model/` of a run.

    Raises:
        UserError: a file is missing or damaged.
    """
    if is_tfidf(folder):
        linear, classes = load_tfidf(folder)
        return lambda texts: linear.log_probabilities([clean(t)[0] for t in texts]), classes
    from hvdcore.classifier.keras import Predictor, load_model
    from hvdcore.keras import init
    from news_cls.model import networks  # noqa: F401  (registers its layers)
    from news_cls.model.vectorizer import string_batch

    init()
    predictor = Predictor(load_model(folder))

    def predict(texts: Sequence[str]) -> npt.NDArray[np.float64]:
        return predictor((string_batch(texts, BATCH_SIZE),))[: len(texts)]

    return predict, load_classes(folder)
