"""The optimizer of a model that Keras 3 reads from an .h5 file.

Keras 3.15 builds it for the variables that the model owns without its layers', which are none for
most models: the next `fit` ends with "Unknown variable", and the state that was saved is lost.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

__all__ = ["is_h5", "mend_optimizer"]


def is_h5(filepath: Any) -> bool:
    """Whether Keras reads the file as HDF5: it goes by the name's ending."""
    return str(filepath).endswith((".h5", ".hdf5"))


def mend_optimizer(model: Any, filepath: Any) -> None:
    """Give the model an optimizer for all its variables, with the state that the file has.

    A file of an older Keras may have another state than this optimizer; a warning says so.
    """
    optimizer = getattr(model, "optimizer", None)
    variables = model.trainable_variables
    if optimizer is None or not variables or not optimizer.built:
        return
    known = {id(variable) for variable in optimizer._trainable_variables}
    if known == {id(variable) for variable in variables}:
        return
    fresh = type(optimizer).from_config(optimizer.get_config())
    fresh.build(variables)
    saved = _saved_state(filepath)
    if [np.shape(value) for value in saved] == [tuple(v.shape) for v in fresh.variables]:
        for variable, value in zip(fresh.variables, saved, strict=True):
            variable.assign(value)
    elif saved:
        warnings.warn(
            f"{filepath}: the optimizer's state is of another version of Keras; the optimizer "
            "begins anew, from its configuration",
            stacklevel=4,
        )
    model.optimizer = fresh


def _saved_state(filepath: Any) -> list[Any]:
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(filepath, "r") as file:
        if "optimizer_weights" not in file:
            return []
        return [
            np.asarray(v) for v in legacy_h5_format.load_optimizer_weights_from_hdf5_group(file)
        ]
