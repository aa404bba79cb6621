"""The models by name: each takes float32 [B, S, S, 3] in 0..255 and gives logits [B, C].

None keeps statistics over a batch or draws at random: what N ranks train is then what one rank
trains. What is saved is made of Keras's own layers (`portable`), and so loads without this package.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from image_cls.config import ModelFields
from image_cls.residual import keras_normalization, our_normalization, residual_network
from image_cls.transfer import mobilenet

__all__ = ["LEARNING_RATES", "build_model", "cnn", "portable"]

LEARNING_RATES = {"logreg": 3e-4, "mlp": 3e-4, "cnn": 2e-3, "mobilenet": 1e-3}
"""Peak rates of AdamW at 32 pictures a step."""


def logreg(size: int, num_classes: int) -> keras.Model:
    """Logistic regression on the pixels."""
    images = keras.Input((size, size, 3), name="images")
    pixels = layers.Flatten()(_centred(images))
    return keras.Model(images, layers.Dense(num_classes, name="logits")(pixels), name="logreg")


def mlp(size: int, num_classes: int, hidden: int = 256) -> keras.Model:
    """One hidden layer on the pixels."""
    images = keras.Input((size, size, 3), name="images")
    pixels = layers.Flatten()(_centred(images))
    units = layers.Dense(hidden, activation="relu", kernel_initializer="he_normal")(pixels)
    return keras.Model(images, layers.Dense(num_classes, name="logits")(units), name="mlp")


def cnn(size: int, num_classes: int, *, of_keras: bool = False) -> keras.Model:
    """The residual network, of Keras's own layers alone if so wanted."""
    images = keras.Input((size, size, 3), name="images")
    normalization = keras_normalization if of_keras else our_normalization
    logits = residual_network(_centred(images), num_classes, normalization)
    return keras.Model(images, logits, name="cnn")


def _centred(images: keras.KerasTensor) -> keras.KerasTensor:
    return layers.Rescaling(1.0 / 127.5, -1.0, name="centred")(images)


_BUILDERS: dict[str, Callable[[int, int], keras.Model]] = {
    "logreg": logreg,
    "mlp": mlp,
    "cnn": cnn,
}


def build_model(config: ModelFields, size: int, num_classes: int, seed: int) -> keras.Model:
    """A model with fresh weights, the same for the same seed.

    Args:
        config: the name, and for `mobilenet` its weights.
        size: pixels a side.

    Raises:
        UserError: the weights cannot be read or are another network's.
    """
    keras.utils.set_random_seed(seed)
    if config.model == "mobilenet":
        assert config.weights is not None
        return mobilenet(size, num_classes, config.weights)
    return _BUILDERS[config.model](size, num_classes)


def portable(model: keras.Model) -> keras.Model:
    """The same model, made of Keras's own layers alone."""
    if model.name != "cnn":
        return model
    twin = cnn(model.input_shape[1], model.output_shape[-1], of_keras=True)
    twin.set_weights(model.get_weights())
    return twin
