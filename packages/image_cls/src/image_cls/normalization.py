"""Group normalisation followed by a rectifier, as one pass over the maps each way.

TensorFlow runs Keras's layer as some twenty operations, each of which reads its maps from memory
and writes them back; for a small network that is a sixth of a step. Here the value and the
gradient, written by hand, are each compiled by XLA into a few loops, while the convolutions around
them stay with oneDNN, which is faster at those than XLA.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

__all__ = ["NormalizedReLU"]


class NormalizedReLU(keras.layers.GroupNormalization):  # type: ignore[misc]
    """`keras.layers.GroupNormalization` (Wu & He 2018) and then ReLU, of maps [B, H, W, C].

    Weights and what is computed are Keras's. It is for training: what is saved is made of Keras's
    own two layers (`models.portable`), which load without this package.
    """

    def call(self, maps: Any) -> Any:
        """Maps of the same shape and type."""
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
    """Of pixels [B, P, C], float32; scale and offset are [C]."""

    @tf.custom_gradient
    def value(pixels: Any, scale: Any, offset: Any) -> Any:
        rectified, mean, inverse = _forward(pixels, scale, offset, groups, epsilon)

        def gradient(upstream: Any) -> Any:
            return _backward(upstream, pixels, mean, inverse, scale, offset, groups)

        return rectified, gradient

    return value(pixels, scale, offset)


@tf.function(jit_compile=True, autograph=False)
def _forward(pixels: Any, scale: Any, offset: Any, groups: int, epsilon: float) -> Any:
    """The result, and of each channel its group's mean and inverse deviation, [B, 1, C]."""
    mean = _over_groups(tf.reduce_mean(pixels, 1), groups)
    centred = pixels - mean
    variance = _over_groups(tf.reduce_mean(tf.square(centred), 1), groups)
    inverse = tf.math.rsqrt(variance + epsilon)
    return tf.nn.relu(centred * (inverse * scale) + offset), mean, inverse


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
    # A group's mean and deviation depend on each of its pixels.
    by_mean = _over_groups(offsets * scale / num_pixels, groups)
    by_deviation = _over_groups(scales * scale / num_pixels, groups)
    inward = inverse * (scale * passed - by_mean - normalized * by_deviation)
    return inward, tf.reduce_sum(scales, 0), tf.reduce_sum(offsets, 0)


def _over_groups(values: Any, groups: int) -> Any:
    """Of each channel in [B, C], the mean over its group's channels, [B, 1, C]."""
    size = values.shape[-1] // groups
    means = tf.reduce_mean(tf.reshape(values, [-1, groups, size]), -1)
    return tf.repeat(means, size, -1)[:, None]
