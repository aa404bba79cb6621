"""``image-cls predict``: the class of pictures, with probabilities, as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvdcore.atomic import write_bytes_atomically
from hvdcore.errors import Problems, UserError
from hvdcore.run_dir import RunDir
from image_cls.decode import Skip, decode, resize
from image_cls.listing import list_pictures
from image_cls.saved_model import load_classes, load_model

__all__ = ["Prediction", "predict_command", "predict_files", "to_csv", "to_json"]

BATCH_SIZE = 50


@dataclass(frozen=True)
class Prediction:
    """One file: its probabilities in the order of the classes, or why there are none."""

    file: str
    probabilities: tuple[float, ...] = ()
    skipped: str = ""


def predict_command(run_dir: Path, inputs: Sequence[Path], form: str, output: Path | None) -> None:
    """Classify the pictures and print or write the answers.

    Files that are no pictures are named with the reason, and the rest goes on.

    Raises:
        UserError: no run, no such input, another form, or not one picture among them.
    """
    problems = Problems()
    if form not in ("csv", "json"):
        problems.add("format", f"got {form!r}; give csv or json")
    files: list[Path] = []
    with problems.catching():
        files = list(_files(inputs))
    folder = RunDir(run_dir).model
    with problems.catching():
        folder = RunDir.open(run_dir).model
        load_classes(folder)
    problems.raise_if_any()
    classes, _ = load_classes(folder)
    predictions = list(predict_files(folder, files))
    if all(p.skipped for p in predictions):
        raise UserError(f"input: {files[0]}: {predictions[0].skipped}; give pictures")
    text = to_csv(predictions, classes) if form == "csv" else to_json(predictions, classes)
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
    from hvdcore.keras import init
    from image_cls.evaluate import classifier

    init()
    _, size = load_classes(folder)
    classify = classifier(load_model(folder), BATCH_SIZE)
    for start in range(0, len(files), BATCH_SIZE):
        batch = files[start : start + BATCH_SIZE]
        read = [_read(path, size) for path in batch]
        pixels = [found for found in read if not isinstance(found, str)]
        stacked = np.array(pixels, dtype=np.uint8).reshape(-1, size, size, 3)
        answers = iter(np.exp(classify(stacked)))
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


def to_csv(predictions: Sequence[Prediction], classes: Sequence[str]) -> str:
    """A header, and a line for each file: file, class, probability, each class, skipped."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "class", "probability", *classes, "skipped"])
    for p in predictions:
        if p.skipped:
            table.writerow([p.file, "", "", *[""] * len(classes), p.skipped])
            continue
        best = int(np.argmax(p.probabilities))
        numbers = [f"{value:.6f}" for value in (p.probabilities[best], *p.probabilities)]
        table.writerow([p.file, classes[best], *numbers, ""])
    return text.getvalue()


def to_json(predictions: Sequence[Prediction], classes: Sequence[str]) -> str:
    """A list of objects with file, class, probability, probabilities; or file and skipped."""
    rows: list[dict[str, object]] = []
    for p in predictions:
        if p.skipped:
            rows.append({"file": p.file, "skipped": p.skipped})
            continue
        best = int(np.argmax(p.probabilities))
        rows.append(
            {
                "file": p.file,
                "class": classes[best],
                "probability": p.probabilities[best],
                "probabilities": dict(zip(classes, p.probabilities, strict=True)),
            }
        )
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
