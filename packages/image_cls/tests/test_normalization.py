"""Our normalization computes what Keras's layers compute, values and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from image_cls.model import NormalizedReLU, cnn, portable

SHAPE = (3, 6, 5, 32)


def weighted(layer: Any, draw: np.random.Generator) -> Any:
    layer.build(SHAPE)
    layer.set_weights([draw.normal(1, 0.5, SHAPE[-1:]), draw.normal(0, 0.5, SHAPE[-1:])])
    return layer


def gradients(call: Any, layer: Any, maps: Any, upstream: Any) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        tape.watch(maps)
        found = call(maps)
    sources = [maps, *(v.value for v in layer.trainable_variables)]
    return [found.numpy(), *(g.numpy() for g in tape.gradient(found, sources, upstream))]


@pytest.mark.parametrize("mean", [0.0, 30.0])
@pytest.mark.parametrize("groups", [1, 8, 32])
def test_values_and_gradients_are_those_of_keras(groups: int, mean: float) -> None:
    draw = np.random.default_rng(0)
    ours = weighted(NormalizedReLU(groups), draw)
    theirs = keras.layers.GroupNormalization(groups)
    theirs.build(SHAPE)
    theirs.set_weights(ours.get_weights())
    maps = tf.constant(draw.normal(mean, 2.0, SHAPE), tf.float32)
    upstream = tf.constant(draw.normal(size=SHAPE), tf.float32)
    expected = gradients(lambda x: tf.nn.relu(theirs(x)), theirs, maps, upstream)
    found = gradients(ours, ours, maps, upstream)
    assert len(found) == len(expected) == 4
    for mine, other in zip(found, expected, strict=True):
        assert np.abs(other).max() > 0.1, "control: something to compare"
        np.testing.assert_allclose(mine, other, atol=2e-5 * max(1.0, mean), rtol=1e-4)


def test_a_known_answer() -> None:
    """Channels 0 and 2 in one group: mean 2, variance 1."""
    layer = NormalizedReLU(1, epsilon=0.0)
    found = layer(np.array([[[[1.0, 3.0]], [[3.0, 1.0]]]], np.float32)).numpy()
    assert found.ravel().tolist() == pytest.approx([0.0, 1.0, 1.0, 0.0])


def test_half_precision_is_computed_in_float32() -> None:
    draw = np.random.default_rng(0)
    maps = tf.constant(draw.normal(100.0, 0.5, SHAPE), tf.bfloat16)
    layer = NormalizedReLU(8, dtype="mixed_bfloat16")
    found = layer(maps)
    assert found.dtype == tf.bfloat16
    exact = NormalizedReLU(8)(tf.cast(maps, tf.float32)).numpy()
    np.testing.assert_allclose(tf.cast(found, tf.float32).numpy(), exact, atol=0.02)


def test_what_is_saved_is_keras_own(tmp_path: Path) -> None:
    network = cnn(16, 6)
    weights = [
        w + 0.01 * np.random.default_rng(0).normal(size=w.shape) for w in network.get_weights()
    ]
    network.set_weights(weights)
    portable(network).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}
    images = np.random.default_rng(1).uniform(0, 255, (4, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(loaded(images), network(images), atol=1e-4)
