"""Where a step of a classifier stopped being finite: the first layer, or the first gradient."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hvdcore.classifier.keras.task import Batch
from hvdcore.run.finite import shown_samples

__all__ = ["diagnose"]


def diagnose(
    model: keras.Model, batch: Batch, gradients: Sequence[Any], indices: Sequence[int]
) -> str:
    """What is not finite in this rank's share of a step, as part of a sentence; else nothing.

    Args:
        model: with the weights that the step began with.
        batch: this rank's samples.
        gradients: this rank's own, of the trainable variables.
        indices: of its samples in the train split.
    """
    found = _first_layer(model, batch) or _last_gradient(model, gradients)
    return f"{shown_samples(indices)}, first in {found}" if found else ""


def _first_layer(model: keras.Model, batch: Batch) -> str:
    """The first layer, in the order of the model, whose output is not finite."""
    outputs: list[tuple[Any, Any]] = []
    # A model that is no graph of layers has no outputs of layers to ask for.
    with suppress(AttributeError, ValueError):
        outputs = _outputs(model, batch)
    for layer, value in outputs:
        if not _is_finite(value):
            return f"the output of {layer.name}"
    return ""


def _outputs(model: keras.Model, batch: Batch) -> list[tuple[Any, Any]]:
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    watched = keras.Model(model.inputs, [layer.output for layer in layers])
    values = watched(list(batch.inputs), training=True)
    return list(zip(layers, values if len(layers) > 1 else [values], strict=True))


def _last_gradient(model: keras.Model, gradients: Sequence[Any]) -> str:
    """The last variable whose gradient is not finite: the first in the backward pass."""
    pairs = zip(model.trainable_variables, gradients, strict=True)
    for variable, gradient in reversed(list(pairs)):
        values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
        if values is not None and not _is_finite(values):
            return f"the gradient of {variable.path}"
    return ""


def _is_finite(value: Any) -> bool:
    arrays = [np.asarray(array) for array in tf.nest.flatten(value)]
    kinds = (np.asarray(array, np.float32) for array in arrays if array.dtype.kind not in "biu")
    return all(bool(np.isfinite(array).all()) for array in kinds)
