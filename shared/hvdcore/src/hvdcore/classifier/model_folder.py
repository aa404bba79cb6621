"""A saved model's folder: the Keras file, and what its input and its answers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hvdcore.errors import UserError
from hvdcore.files.json_files import read_json_object

__all__ = ["MODEL", "PREPROCESSING", "load_classes", "load_preprocessing"]

MODEL = "model.keras"
PREPROCESSING = "preprocessing.json"


def load_preprocessing(folder: Path, *fields: str) -> dict[str, Any]:
    """What was saved beside the model.

    Args:
        fields: that must be in it.

    Raises:
        UserError: a file is missing or damaged.
    """
    for name in (MODEL, PREPROCESSING):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder / name}: missing; give a run that has finished, or go on with it "
                "(train --resume auto)"
            )
    values = read_json_object(folder / PREPROCESSING)
    classes = values.get("classes")
    if not isinstance(classes, list) or any(name not in values for name in fields):
        raise UserError(f"{folder / PREPROCESSING}: not as it was written; copy it anew")
    return values


def load_classes(folder: Path) -> tuple[str, ...]:
    """The names of the classes, in the order of the model's answers.

    Raises:
        UserError: a file is missing or damaged.
    """
    return tuple(map(str, load_preprocessing(folder)["classes"]))
