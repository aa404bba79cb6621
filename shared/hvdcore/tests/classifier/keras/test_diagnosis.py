"""The first layer whose output is not finite, or the variable whose gradient is not, is named."""

from __future__ import annotations

import keras
import numpy as np

from hvdcore.classifier.keras.diagnosis import diagnose
from hvdcore.classifier.keras.task import Batch


def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,))
    hidden = keras.layers.Dense(3, name="first")(inputs)
    hidden = keras.layers.Dense(3, name="second")(hidden)
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(hidden))


BATCH = Batch.padded((np.ones((2, 2), np.float32),), np.eye(3, dtype=np.float32)[:2], 2)


def good_gradients(of: keras.Model) -> list[np.ndarray]:
    return [np.zeros(variable.shape, np.float32) for variable in of.trainable_variables]


def test_a_healthy_step_has_nothing_to_say() -> None:
    healthy = model()
    assert diagnose(healthy, BATCH, good_gradients(healthy), [4, 2]) == ""


def test_a_poisoned_weight() -> None:
    """The layer that reads it, not the one behind it, whose gradients and outputs are bad too."""
    poisoned = model()
    bias = poisoned.get_layer("second").bias
    bias.assign([0.0, np.nan, 0.0])
    bad = [gradient + np.nan for gradient in good_gradients(poisoned)]
    assert diagnose(poisoned, BATCH, bad, [4, 2]) == (
        "samples 4, 2 of the train split, first in the output of second"
    )


def test_a_poisoned_gradient() -> None:
    """The one nearest to the loss: the backward pass came to it first."""
    poisoned = model()
    gradients = good_gradients(poisoned)
    for i in (0, 1, 2):  # of the first layer, and the kernel of the second
        gradients[i][0] = np.inf
    assert diagnose(poisoned, BATCH, gradients, [4]) == (
        "sample 4 of the train split, first in the gradient of second/kernel"
    )
