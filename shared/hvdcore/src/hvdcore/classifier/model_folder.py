"""The folder of a saved model: the Keras file, and what its inputs and outputs mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.files.json_files import read_json_object

__all__ = ["MODEL", "PREPROCESSING", "class_names", "load_classes", "load_preprocessing"]

MODEL = "model.keras"
PREPROCESSING = "preprocessing.json"


def load_preprocessing(folder: Path, *fields: str) -> dict[str, Any]:
    """The values that were saved with the model.

    Args:
        fields: names that they must contain.

    Raises:
        UserError: a file is missing or damaged.
    """
    for name in (MODEL, PREPROCESSING):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder / name}: missing; give a finished run, or resume the training "
                "(train --resume auto)"
            )
    values = read_json_object(folder / PREPROCESSING)
    classes = values.get("classes")
    if not isinstance(classes, list) or any(name not in values for name in fields):
        raise UserError(f"{folder / PREPROCESSING}: incomplete; copy it again")
    return values


def load_classes(folder: Path) -> tuple[str, ...]:
    """The names of the classes, in the order of the model's outputs.

    Raises:
        UserError: a file is missing or damaged.
    """
    return class_names(folder, load_preprocessing(folder))


def class_names(folder: Path, preprocessing: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes in what was saved with the model.

    Raises:
        UserError: they are not texts, or one occurs twice.
    """
    classes = preprocessing.get("classes")
    is_list = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if not classes or not is_list or len(set(classes)) != len(classes):
        raise UserError(
            f"{folder / PREPROCESSING}: its classes are not texts, each once; copy it again"
        )
    return tuple(classes)
