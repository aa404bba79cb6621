"""Owns the link to `horovod.tensorflow`: the build is checked before it is imported.

Importing an extension built for another TensorFlow ends in an undefined symbol, or in wrong
numbers. The check turns that into one line with the fix.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf

from hvdcore.errors import UserError

__all__ = ["check_backend", "check_build", "engine"]

_REINSTALL = (
    "install it again beside this TensorFlow: pip install --force-reinstall ./infra/horovod"
)


@cache
def engine() -> Any:
    """`horovod.tensorflow`, imported on first use.

    Raises:
        UserError: Horovod is missing, lacks TensorFlow, or was built for another version of it.
    """
    check_build(_build_record(), str(tf.__version__))
    import horovod.tensorflow

    module: ModuleType = horovod.tensorflow
    return module


def _build_record() -> Path:
    spec = importlib.util.find_spec("horovod")
    if spec is None or spec.origin is None:
        raise UserError("horovod: not installed; pip install ./infra/horovod")
    return Path(spec.origin).parent / "metadata.json"


def check_build(record: Path, installed: str) -> None:
    """Compare the TensorFlow version that Horovod was built for with the one in use.

    Args:
        record: Horovod's `metadata.json`, framework names to versions.
        installed: `tf.__version__`.

    Raises:
        UserError: they differ, or Horovod was built without TensorFlow.
    """
    if not record.is_file():
        raise UserError(f"horovod: {record.name} is missing, so its build is unknown; {_REINSTALL}")
    built_for = json.loads(record.read_text(encoding="utf-8")).get("tensorflow")
    if built_for is None:
        raise UserError(f"horovod: built without TensorFlow; {_REINSTALL}")
    if built_for != installed:
        raise UserError(
            f"horovod: built for TensorFlow {built_for}, but {installed} is installed; {_REINSTALL}"
        )


def check_backend() -> None:
    """Keras must run on TensorFlow, for Horovod's operations are TensorFlow's.

    Raises:
        UserError: Keras uses another backend.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise UserError(f"KERAS_BACKEND: got {backend!r}; set KERAS_BACKEND=tensorflow")
