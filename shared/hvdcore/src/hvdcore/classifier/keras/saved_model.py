"""Saving a model with its preprocessing, and loading it without running code from the file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hvdcore.classifier.model_folder import MODEL, PREPROCESSING, load_classes
from hvdcore.errors import UserError
from hvdcore.files.atomic import write_bytes_atomically, writing
from hvdcore.files.json_files import write_json_atomically

__all__ = ["load_model", "save_model"]

_MAX_RATIO = 20
_MAX_SMALL_BYTES = 1 << 24
"""A model file may unpack to this many times its size and these bytes."""

_README = """\
# {model}

A model of Keras 3 (of `news_cls`: with that package installed and its model modules imported).
Its outputs are *logits*, [batch, class], not probabilities: these are their softmax. The classes,
in the order of the output, and what makes an input of a sample are in `preprocessing.json`.

```python
import json, keras
model = keras.models.load_model("{model}", compile=False)
classes = json.load(open("preprocessing.json"))["classes"]
probabilities = keras.ops.softmax(model(batch))
```
"""


def save_model(
    folder: Path, model: keras.Model, classes: Sequence[str], preprocessing: Mapping[str, Any]
) -> None:
    """Write the model and its preprocessing, each file completely or not at all. Rank 0 only.

    Args:
        preprocessing: how a sample becomes the model's input, as JSON.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    temporary = folder / f".{os.getpid()}.{MODEL}"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            model.save(temporary)
            temporary.replace(folder / MODEL)
        finally:
            temporary.unlink(missing_ok=True)
    values = {"classes": list(classes), **preprocessing, "output": "logits, [batch, class]"}
    write_json_atomically(folder / PREPROCESSING, values)
    write_bytes_atomically(folder / "README.md", _README.format(model=MODEL).encode())


def load_model(folder: Path) -> keras.Model:
    """The model that `save_model` wrote.

    Raises:
        UserError: it is missing or damaged, unpacks to far more than it is large, holds values that
            are not finite, or has another number of outputs than there are classes.
    """
    classes = load_classes(folder)
    path = folder / MODEL
    try:
        _check_archive(path)
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except UserError:
        raise
    except Exception as error:  # whatever Keras, HDF5, zip and zlib raise for damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path}: damaged or incomplete ({reason}); copy it again or train again"
        ) from error
    _check_values(path, model)
    if (outputs := model.output_shape[-1]) != len(classes):
        raise UserError(
            f"{folder}: {PREPROCESSING} names {len(classes)} classes and {MODEL} has {outputs} "
            "outputs; copy both files from one run"
        )
    return model


def _check_archive(path: Path) -> None:
    """Check what reading the file would take. Keras writes it without compression."""
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: not a complete zip archive; copy it again or train again")
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > _MAX_RATIO * path.stat().st_size + _MAX_SMALL_BYTES:
        raise UserError(
            f"{path}: unpacks to {unpacked:,} bytes (a decompression bomb?); copy it again or "
            "train again"
        )


def _check_values(path: Path, model: keras.Model) -> None:
    for variable in model.variables:
        values = np.asarray(variable)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UserError(
                f"{path}: {variable.path} holds values that are not finite, so every prediction "
                "would be wrong; copy it again or train again"
            )
