"""Saving a model with its preprocessing, and loading it without running code from the file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from hvdcore.classifier.model_folder import MODEL, PREPROCESSING, load_preprocessing
from hvdcore.errors import UserError
from hvdcore.files.atomic import write_bytes_atomically, writing
from hvdcore.files.json_files import write_json_atomically

__all__ = ["load_model", "save_model"]


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
        UserError: it is missing or damaged.
    """
    load_preprocessing(folder)
    path = folder / MODEL
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError,
            zipfile.BadZipFile) as error:  # fmt: skip
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path}: damaged or incomplete ({reason}); copy it again or train again"
        ) from error
