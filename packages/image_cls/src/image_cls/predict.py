"""``image-cls predict``: the class of pictures, with probabilities, as CSV or JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.model_folder import load_classes, load_preprocessing
from hvdcore.classifier.predictions import FORMS, Prediction
from hvdcore.errors import Problems, UserError
from hvdcore.files.atomic import write_bytes_atomically
from hvdcore.run.run_dir import RunDir
from image_cls.data.decode import Skip, decode, resize
from image_cls.data.listing import list_pictures

__all__ = ["predict_command", "predict_files"]

BATCH_SIZE = 50


def predict_command(run_dir: Path, inputs: Sequence[Path], form: str, output: Path | None) -> None:
    """Classify the pictures and print or write the answers.

    Files that are no pictures are named with the reason, and the rest goes on.

    Raises:
        UserError: no run, no such input, another form, or not one picture among them.
    """
    problems = Problems()
    if form not in FORMS:
        problems.add("format", f"got {form!r}; give {' or '.join(FORMS)}")
    files: list[Path] = []
    with problems.catching():
        files = list(_files(inputs))
    folder = RunDir(run_dir).model
    with problems.catching():
        folder = RunDir.open(run_dir).model
        load_classes(folder)
    problems.raise_if_any()
    classes = load_classes(folder)
    predictions = list(predict_files(folder, files))
    if all(p.skipped for p in predictions):
        raise UserError(f"input: {files[0]}: {predictions[0].skipped}; give pictures")
    text = "".join(FORMS[form](predictions, classes, "file"))
    if output is None:
        sys.stdout.write(text)
    else:
        write_bytes_atomically(output, text.encode())


def _files(inputs: Sequence[Path]) -> Iterator[Path]:
    problems = Problems()
    for path in inputs:
        if path.is_dir():
            found = list_pictures(path)
            if not found:
                problems.add("input", f"{path}: no files in it; give pictures")
            yield from found
        elif path.exists():
            yield path
        else:
            problems.add("input", f"{path}: no such file or folder; check the path")
    problems.raise_if_any()


def predict_files(folder: Path, files: Sequence[Path]) -> Iterator[Prediction]:
    """The answers for all files, in order.

    Args:
        folder: a run's `model/`.
    """
    from hvdcore.classifier.keras import Answers, filled_up, load_model
    from hvdcore.keras import init

    init()
    size = int(load_preprocessing(folder, "image_size")["image_size"])
    answers_to = Answers(load_model(folder))
    for start in range(0, len(files), BATCH_SIZE):
        batch = files[start : start + BATCH_SIZE]
        read = [_read(path, size) for path in batch]
        pixels = [found for found in read if not isinstance(found, str)]
        stacked = np.array(pixels, dtype=np.float32).reshape(-1, size, size, 3)
        answers = iter(np.exp(answers_to((filled_up(stacked, BATCH_SIZE),))))
        for path, found in zip(batch, read, strict=True):
            name = os.fsencode(path).decode("utf-8", "replace")
            if isinstance(found, str):
                yield Prediction(name, skipped=found)
            else:
                yield Prediction(name, tuple(next(answers).tolist()))


def _read(path: Path, size: int) -> npt.NDArray[np.uint8] | str:
    """The picture as the model takes it, or why there is none."""
    try:
        return resize(decode(path).pixels, size)
    except Skip as reason:
        return str(reason)
