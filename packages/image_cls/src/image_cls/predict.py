"""The command ``predict``: the class of images, with probabilities."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.classifier.model_folder import MODEL, PREPROCESSING, load_classes, load_preprocessing
from hvdcore.classifier.predictions import (
    FORMATS,
    Prediction,
    find_model,
    for_spreadsheets,
    write_predictions,
)
from hvdcore.errors import Problems, UserError
from hvdcore.files.walk import walk_files, warn_of_left_out
from image_cls.data.decode import Skip, decode, resize

__all__ = ["predict_command", "predict_files"]

BATCH_SIZE = 50


def predict_command(
    run_dir: Path,
    inputs: Sequence[Path],
    output_format: str,
    output: Path | None,
    spreadsheet: bool = False,
) -> None:
    """Classify the images and print or write the predictions.

    Args:
        spreadsheet: quote what a spreadsheet would compute.

    Files that are not images are listed with the reason.

    Raises:
        UserError: no run, no such input, an unknown format, or no image among the inputs.
    """
    problems = Problems()
    folder = find_model(run_dir, output_format, problems)
    files: list[Path] = []
    with problems.catching():
        files = list(_files(inputs))
    problems.raise_if_any()
    classes: Sequence[str] = load_classes(folder)
    predictions: Iterable[Prediction] = list(predict_files(folder, files))
    if all(p.skipped for p in predictions):
        reason = next(iter(predictions)).skipped
        raise UserError(f"input: {files[0]}: {reason}; give images")
    if spreadsheet:
        predictions, classes = for_spreadsheets(predictions, classes)
    write_predictions(FORMATS[output_format](predictions, classes, "file"), output)


def _files(inputs: Sequence[Path]) -> Iterator[Path]:
    problems = Problems()
    for path in inputs:
        if path.is_dir():
            walk = walk_files(path)
            warn_of_left_out(path, [walk])
            if not walk.files:
                problems.add("input", f"{path}: no files in it; give images")
            yield from walk.files
        elif path.exists():
            yield path
        else:
            problems.add("input", f"{path}: no such file or folder; check the path")
    problems.raise_if_any()


def predict_files(folder: Path, files: Sequence[Path]) -> Iterator[Prediction]:
    """The predictions for all files, in order.

    Args:
        folder: the `model/` of a run.

    Raises:
        UserError: a file is missing or damaged, or they do not belong together.
    """
    from hvdcore.classifier.keras import Predictor, load_model, pad_rows
    from hvdcore.keras import init

    init()
    size = load_preprocessing(folder, "image_size")["image_size"]
    model = load_model(folder)
    if model.input_shape[1:] != (size, size, 3):
        raise UserError(
            f"{folder}: {PREPROCESSING} says image_size {size!r} and {MODEL} takes "
            f"{model.input_shape[1:]}; copy both files from one run"
        )
    predict = Predictor(model)
    for start in range(0, len(files), BATCH_SIZE):
        batch = files[start : start + BATCH_SIZE]
        read = [_read(path, size) for path in batch]
        pixels = [found for found in read if not isinstance(found, str)]
        stacked = np.array(pixels, dtype=np.float32).reshape(-1, size, size, 3)
        probabilities = iter(np.exp(predict((pad_rows(stacked, BATCH_SIZE),))))
        for path, found in zip(batch, read, strict=True):
            name = os.fsencode(path).decode("utf-8", "replace")
            if isinstance(found, str):
                yield Prediction(name, skipped=found)
            else:
                yield Prediction(name, tuple(next(probabilities).tolist()))


def _read(path: Path, size: int) -> npt.NDArray[np.uint8] | str:
    """The image as the model takes it, or the reason why it cannot be used."""
    try:
        return resize(decode(path).pixels, size)
    except Skip as reason:
        return str(reason)
