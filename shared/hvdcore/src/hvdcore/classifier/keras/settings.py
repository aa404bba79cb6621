"""The settings of Keras that a classifier is built with, whatever the machine's keras.json says."""

from __future__ import annotations

import keras

__all__ = ["use_own_settings"]


def use_own_settings() -> None:
    """Pixels as [height, width, channels], numbers as float32, the usual epsilon.

    A saved model contains them, so it must not depend on the machine that trained it.
    """
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
