"""A model in a folder of its own: a Keras file, and how a picture becomes its input.

`keras.models.load_model(RUN/model/model.keras)` loads it as it is: scaling is part of the model,
and no class of this package is. Loading runs no code from the file.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from hvdcore.atomic import writing
from hvdcore.errors import UserError
from hvdcore.json_files import read_json_object, write_json_atomically

if TYPE_CHECKING:
    import keras

__all__ = ["load_classes", "load_model", "save_model"]

MODEL = "model.keras"
PREPROCESSING = "preprocessing.json"


def save_model(folder: Path, model: keras.Model, classes: tuple[str, ...], size: int) -> None:
    """Write the model and its preprocessing, each whole or not at all. Rank 0 only.

    Args:
        size: pixels a side that pictures are resized to.

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
    write_json_atomically(
        folder / PREPROCESSING,
        {
            "classes": list(classes),
            "image_size": size,
            "resize": "the whole picture, bicubic with antialiasing",
            "input": "RGB in 0..255, [batch, height, width, 3]",
            "output": "logits, [batch, class]",
        },
    )


def load_classes(folder: Path) -> tuple[tuple[str, ...], int]:
    """Class names, and pixels a side of the input.

    Raises:
        UserError: a file is missing or damaged.
    """
    for name in (MODEL, PREPROCESSING):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder / name}: missing; give a run that has finished, or go on with it "
                "(image-cls train --resume auto)"
            )
    values = read_json_object(folder / PREPROCESSING)
    try:
        return tuple(map(str, values["classes"])), int(values["image_size"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{folder / PREPROCESSING}: not as it was written; copy it anew") from None


def load_model(folder: Path) -> keras.Model:
    """The model that `save_model` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    import keras

    load_classes(folder)
    path = folder / MODEL
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path}: damaged or not whole ({reason}); copy it anew or train again"
        ) from error
