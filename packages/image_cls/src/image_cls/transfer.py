"""Transfer: a MobileNetV2 of Keras Applications with given weights, and a new layer on top."""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

from hvdcore.errors import UserError

__all__ = ["mobilenet"]


def mobilenet(size: int, num_classes: int, weights: str) -> keras.Model:
    """MobileNetV2 (Sandler et al. 2018) as a fixed feature extractor, with a trained last layer.

    Its batch normalisation uses the statistics that came with the weights.

    Args:
        weights: a file with weights of `keras.applications.MobileNetV2(include_top=False)`
            (.h5, .keras or .weights.h5), or `imagenet` to have Keras fetch them.

    Raises:
        UserError: no such file, another form of file, or weights of another network.
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
            f"weights: {weights}: cannot be taken ({reason}); give weights of MobileNetV2 without "
            "its top, width 1.0"
        ) from error
    body.trainable = False
    features = body(layers.Rescaling(1.0 / 127.5, -1.0, name="centred")(images), training=False)
    return keras.Model(images, layers.Dense(num_classes, name="logits")(features), name="mobilenet")


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"weights: {path}: no such file; give one, or imagenet to fetch them")
    if path.suffix not in (".h5", ".keras"):
        raise UserError(f"weights: {path}: give a Keras file, .h5 or .keras")


def _load(body: keras.Model, path: Path) -> None:
    if path.suffix == ".keras":
        saved = keras.models.load_model(path, compile=False, safe_mode=True)
        body.set_weights(saved.get_weights())
    else:
        body.load_weights(path)
