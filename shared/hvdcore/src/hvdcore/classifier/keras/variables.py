"""Keras variables in a safetensors file, by their places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

__all__ = ["read_variables", "write_variables"]


def write_variables(variables: Sequence[Any], path: Path) -> None:
    """Write them as they are."""
    # By place: Keras numbers names by what else the process has built.
    save_file({f"{i:04d}": np.array(v.numpy()) for i, v in enumerate(variables)}, path)


def read_variables(variables: Sequence[Any], path: Path) -> None:
    """Assign what `write_variables` wrote of as many variables of the same shapes."""
    tensors = load_file(path)
    for i, variable in enumerate(variables):
        variable.assign(tensors[f"{i:04d}"])
