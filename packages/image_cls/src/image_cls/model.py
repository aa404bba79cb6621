"""The models by name: each takes float32 [B, S, S, 3] in 0..255 and gives logits [B, C].

- ``logreg`` and ``mlp`` on the pixels.
- ``cnn``, a small pre-activation residual network (He et al. 2016, "Identity Mappings"). The stem
  halves the image and each stage after the first halves it again, so most of the arithmetic is done
  on small feature maps.
- ``mobilenet``, a MobileNetV2 of Keras Applications with pretrained weights and a new last layer.

No model keeps batch statistics or draws random numbers, so N ranks train the same model as one
rank; group normalization (Wu & He 2018) looks at one sample at a time. While ``cnn`` trains, group
normalization and ReLU are one layer, `NormalizedReLU`. A saved model consists of Keras's own layers
(`portable`) and loads without this package.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from hvdcore.errors import UserError
from image_cls.config import ModelFields

__all__ = [
    "LEARNING_RATES",
    "WIDTHS",
    "NormalizedReLU",
    "build_model",
    "cnn",
    "keras_normalization",
    "mobilenet",
    "our_normalization",
    "portable",
    "residual_network",
]


LEARNING_RATES = {"logreg": 3e-4, "mlp": 3e-4, "cnn": 2e-3, "mobilenet": 1e-3}
"""Peak learning rates of AdamW at 32 images per step."""
Normalization = Callable[[keras.KerasTensor], keras.KerasTensor]
"""Feature maps [B, H, W, C] to feature maps: group normalization, then ReLU."""

WIDTHS = (32, 64, 128, 256)
"""Channels of each stage; one block per stage."""
GROUPS = 8


def logreg(size: int, num_classes: int) -> keras.Model:
    """Logistic regression on the pixels."""
    images = keras.Input((size, size, 3), name="images")
    pixels = layers.Flatten()(_centered(images))
    return keras.Model(images, layers.Dense(num_classes, name="logits")(pixels), name="logreg")


def mlp(size: int, num_classes: int, hidden: int = 256) -> keras.Model:
    """One hidden layer on the pixels."""
    images = keras.Input((size, size, 3), name="images")
    pixels = layers.Flatten()(_centered(images))
    units = layers.Dense(hidden, activation="relu", kernel_initializer="he_normal")(pixels)
    return keras.Model(images, layers.Dense(num_classes, name="logits")(units), name="mlp")


def cnn(size: int, num_classes: int, *, of_keras: bool = False) -> keras.Model:
    """The residual network; with `of_keras` it consists of Keras's own layers."""
    images = keras.Input((size, size, 3), name="images")
    normalization = keras_normalization if of_keras else our_normalization
    logits = residual_network(_centered(images), num_classes, normalization)
    return keras.Model(images, logits, name="cnn")


def _centered(images: keras.KerasTensor) -> keras.KerasTensor:
    return layers.Rescaling(1.0 / 127.5, -1.0, name="centred")(images)


def our_normalization(maps: keras.KerasTensor) -> keras.KerasTensor:
    """Group normalization and ReLU by our layer, which trains faster."""
    return NormalizedReLU(GROUPS)(maps)


def keras_normalization(maps: keras.KerasTensor) -> keras.KerasTensor:
    """Group normalization and ReLU by Keras's layers."""
    return layers.Activation("relu")(layers.GroupNormalization(GROUPS)(maps))


def residual_network(
    pixels: keras.KerasTensor, num_classes: int, normalization: Normalization
) -> keras.KerasTensor:
    """Logits [B, C] of pixels [B, S, S, 3] in -1..1."""
    maps = _convolution(WIDTHS[0], stride=2)(pixels)  # [B, S/2, S/2, 32]
    for stage, width in enumerate(WIDTHS):
        maps = _block(maps, width, 1 if stage == 0 else 2, normalization)
    features = layers.GlobalAveragePooling2D()(normalization(maps))  # [B, 256]
    return layers.Dense(num_classes, name="logits")(features)


def _block(
    maps: keras.KerasTensor, width: int, stride: int, normalization: Normalization
) -> keras.KerasTensor:
    before = normalization(maps)
    shortcut = maps
    if stride != 1:
        shortcut = layers.AveragePooling2D(stride)(before)
        shortcut = _convolution(width, kernel=1)(shortcut)
    inner = _convolution(width, stride=stride)(before)
    # With zeros, each block is the identity at first (Goyal et al. 2017, section 5.1).
    inner = _convolution(width, initializer="zeros")(normalization(inner))
    return layers.Add()([shortcut, inner])


def _convolution(
    width: int, kernel: int = 3, stride: int = 1, initializer: str = "he_normal"
) -> layers.Conv2D:
    return layers.Conv2D(
        width, kernel, strides=stride, padding="same", use_bias=False,
        kernel_initializer=initializer,
    )  # fmt: skip


class NormalizedReLU(keras.layers.GroupNormalization):  # type: ignore[misc]
    """`keras.layers.GroupNormalization` (Wu & He 2018) followed by ReLU, of [B, H, W, C].

    It has the weights of Keras's layer and computes the same. TensorFlow runs Keras's layer as some
    twenty operations, each of which reads the feature maps from memory and writes them back; for a
    small network that is a sixth of a step. Here the value and the gradient are each compiled by
    XLA into a few loops, while the convolutions stay with oneDNN, which is faster at those.
    """

    def call(self, maps: Any) -> Any:
        """Feature maps of the same shape and dtype."""
        scale, offset = (_float32(weights) for weights in (self.gamma, self.beta))
        _, height, width, channels = maps.shape
        pixels = tf.reshape(_float32(maps), [-1, height * width, channels])
        rectified = _normalized_relu(pixels, scale, offset, self.groups, self.epsilon)
        return tf.cast(tf.reshape(rectified, tf.shape(maps)), maps.dtype)

    def compute_output_spec(self, maps: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(maps.shape, dtype=self.compute_dtype)


def _float32(values: Any) -> Any:
    return tf.cast(tf.convert_to_tensor(values), tf.float32)


def _normalized_relu(pixels: Any, scale: Any, offset: Any, groups: int, epsilon: float) -> Any:
    """The result for pixels float32 [B, P, C]; scale and offset are [C]."""

    @tf.custom_gradient
    def value(pixels: Any, scale: Any, offset: Any) -> Any:
        rectified, mean, inverse = _forward(pixels, scale, offset, groups, epsilon)

        def gradient(upstream: Any) -> Any:
            return _backward(upstream, pixels, mean, inverse, scale, offset, groups)

        return rectified, gradient

    return value(pixels, scale, offset)


@tf.function(jit_compile=True, autograph=False)
def _forward(pixels: Any, scale: Any, offset: Any, groups: int, epsilon: float) -> Any:
    """The result, and each channel's group mean and inverse standard deviation, [B, 1, C]."""
    mean = _over_groups(tf.reduce_mean(pixels, 1), groups)
    centered = pixels - mean
    variance = _over_groups(tf.reduce_mean(tf.square(centered), 1), groups)
    inverse = tf.math.rsqrt(variance + epsilon)
    return tf.nn.relu(centered * (inverse * scale) + offset), mean, inverse


@tf.function(jit_compile=True, autograph=False)
def _backward(
    upstream: Any, pixels: Any, mean: Any, inverse: Any, scale: Any, offset: Any, groups: int
) -> Any:
    """Gradients of pixels, scale and offset."""
    num_pixels = tf.cast(tf.shape(pixels)[1], tf.float32)
    normalized = (pixels - mean) * inverse
    passed = tf.where(normalized * scale + offset > 0, upstream, 0.0)
    offsets = tf.reduce_sum(passed, 1)
    scales = tf.reduce_sum(passed * normalized, 1)
    # The mean and the standard deviation of a group depend on each of its pixels.
    by_mean = _over_groups(offsets * scale / num_pixels, groups)
    by_deviation = _over_groups(scales * scale / num_pixels, groups)
    inward = inverse * (scale * passed - by_mean - normalized * by_deviation)
    return inward, tf.reduce_sum(scales, 0), tf.reduce_sum(offsets, 0)


def _over_groups(values: Any, groups: int) -> Any:
    """The mean over the channels of each channel's group in [B, C], as [B, 1, C]."""
    size = values.shape[-1] // groups
    means = tf.reduce_mean(tf.reshape(values, [-1, groups, size]), -1)
    return tf.repeat(means, size, -1)[:, None]


def mobilenet(size: int, num_classes: int, weights: str) -> keras.Model:
    """MobileNetV2 (Sandler et al. 2018) as a frozen feature extractor, with a trained last layer.

    Its batch normalization uses the statistics that come with the weights.

    Args:
        weights: a file with weights of `keras.applications.MobileNetV2(include_top=False)`
            (.h5, .keras or .weights.h5), or `imagenet` to let Keras download them.

    Raises:
        UserError: no such file, another file format, or weights of another network.
    """
    images = keras.Input((size, size, 3), name="images")
    if weights != "imagenet":
        _check_file(Path(weights))
    try:
        body = keras.applications.MobileNetV2(
            input_shape=(size, size, 3), include_top=False, pooling="avg",
            weights="imagenet" if weights == "imagenet" else None,
        )  # fmt: skip
        if weights != "imagenet":
            _load(body, Path(weights))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"weights: {weights}: cannot be loaded ({reason}); give weights of MobileNetV2 without "
            "its top, alpha 1.0"
        ) from error
    body.trainable = False
    features = body(_centered(images), training=False)
    return keras.Model(images, layers.Dense(num_classes, name="logits")(features), name="mobilenet")


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"weights: {path}: no such file; give one, or imagenet to download them")
    if path.suffix not in (".h5", ".keras"):
        raise UserError(f"weights: {path}: give a Keras file, .h5 or .keras")


def _load(body: keras.Model, path: Path) -> None:
    if path.suffix == ".keras":
        saved = keras.models.load_model(path, compile=False, safe_mode=True)
        body.set_weights(saved.get_weights())
    else:
        body.load_weights(path)


_BUILDERS: dict[str, Callable[[int, int], keras.Model]] = {
    "logreg": logreg,
    "mlp": mlp,
    "cnn": cnn,
}


def build_model(config: ModelFields, size: int, num_classes: int, seed: int) -> keras.Model:
    """A model with fresh weights, the same for the same seed.

    Args:
        config: the name, and for `mobilenet` its weights.
        size: height and width in pixels.

    Raises:
        UserError: the weights cannot be read or belong to another network.
    """
    keras.utils.set_random_seed(seed)
    if config.model == "mobilenet":
        assert config.weights is not None
        return mobilenet(size, num_classes, config.weights)
    return _BUILDERS[config.model](size, num_classes)


def portable(model: keras.Model) -> keras.Model:
    """The same model, built of Keras's own layers."""
    if model.name != "cnn":
        return model
    twin = cnn(model.input_shape[1], model.output_shape[-1], of_keras=True)
    twin.set_weights(model.get_weights())
    return twin
