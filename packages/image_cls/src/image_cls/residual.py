"""A small pre-activation residual network (He et al. 2016, "Identity Mappings") for two cores.

The stem halves the picture, each stage after the first halves it again, and so most of the
arithmetic is done on small maps. Group normalisation (Wu & He 2018) looks at one sample at a time,
so that it knows nothing of batches and ranks.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from image_cls.normalization import NormalizedReLU

__all__ = ["WIDTHS", "keras_normalization", "our_normalization", "residual_network"]

Normalization = Callable[[keras.KerasTensor], keras.KerasTensor]
"""Maps [B, H, W, C] to maps: group normalisation, then ReLU."""

WIDTHS = (32, 64, 128, 256)
"""Channels of each stage, one block a stage."""
GROUPS = 8


def our_normalization(maps: keras.KerasTensor) -> keras.KerasTensor:
    """By our layer, which trains faster."""
    return NormalizedReLU(GROUPS)(maps)


def keras_normalization(maps: keras.KerasTensor) -> keras.KerasTensor:
    """The same by Keras's layers."""
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
    # Starting at zero, each block begins as the identity (Goyal et al. 2017, section 5.1).
    inner = _convolution(width, initializer="zeros")(normalization(inner))
    return layers.Add()([shortcut, inner])


def _convolution(
    width: int, kernel: int = 3, stride: int = 1, initializer: str = "he_normal"
) -> layers.Conv2D:
    return layers.Conv2D(
        width, kernel, strides=stride, padding="same", use_bias=False,
        kernel_initializer=initializer,
    )  # fmt: skip
