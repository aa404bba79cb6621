"""The recurrent layers compute what Keras's compute, forwards and backwards, at every word."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from news_cls.model.recurrent import GRU, LSTM

B, T, E, H = 5, 7, 6, 4
LENGTHS = [7, 1, 4, 0, 6]
KINDS = [(LSTM, keras.layers.LSTM), (GRU, keras.layers.GRU)]


def words() -> tuple[Any, Any]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(B, T, E)).astype(np.float32)
    return tf.constant(x), tf.constant(np.arange(T)[None] < np.array(LENGTHS)[:, None])


def both(ours: Any, theirs: Any) -> tuple[Any, list[Any]]:
    """Our layer, and Keras's two with its weights; none of them zero."""
    x, is_word = words()
    layer = ours(H)
    layer(x, is_word)
    draw = np.random.default_rng(1)
    layer.set_weights([draw.normal(size=w.shape, scale=0.5) for w in layer.weights])
    stock = [theirs(H, return_sequences=True, use_cudnn=False, go_backwards=b) for b in (0, 1)]
    for direction, weights in zip(stock, layer.directions, strict=True):
        direction.build(x.shape)
        direction.set_weights([w.numpy() for w in weights])
    return layer, stock


def keras_states(stock: list[Any], x: Any, is_word: Any) -> Any:
    forward, backward = (layer(x, mask=is_word) for layer in stock)
    return tf.concat([forward, tf.reverse(backward, [1])], -1)


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
def test_states_and_gradients_are_keras_own(ours: Any, theirs: Any) -> None:
    layer, stock = both(ours, theirs)
    x, is_word = words()
    wanted = tf.cast(is_word, tf.float32)[..., None] * np.random.default_rng(2).normal(
        size=(B, T, 2 * H)
    )

    def gradients(states: Any, variables: list[Any]) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            found = states(x, is_word)
            loss = tf.reduce_sum(wanted * found**2)
        return found, [g.numpy() for g in tape.gradient(loss, [x, *variables])]

    of_ours = [w.value for weights in layer.directions for w in weights]
    of_stock = [w.value for one in stock for w in one.trainable_weights]
    found, mine = gradients(layer, of_ours)
    expected, its = gradients(lambda x, m: keras_states(stock, x, m), of_stock)
    at_words = is_word.numpy()
    assert found.numpy()[at_words] == pytest.approx(expected.numpy()[at_words], abs=1e-6)
    assert not found.numpy()[~at_words].any()
    for a, b in zip(mine, its, strict=True):
        assert np.abs(b).max() > 0.01
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_it_is_the_same(ours: Any, theirs: Any, jit_compile: bool) -> None:
    layer, _ = both(ours, theirs)
    x, is_word = words()
    compiled = tf.function(lambda: layer(x, is_word), jit_compile=jit_compile)
    assert compiled().numpy() == pytest.approx(layer(x, is_word).numpy(), abs=1e-6)


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
def test_first_weights_are_drawn_as_keras_draws_them(ours: Any, theirs: Any) -> None:
    x, is_word = words()
    layer, stock = ours(H), theirs(H)
    layer(x, is_word)
    stock.build(x.shape)
    for _, recurrent, bias in layer.directions:
        r = recurrent.numpy()
        assert r @ r.T == pytest.approx(np.eye(H), abs=1e-5)
        assert bias.numpy() == pytest.approx(stock.get_weights()[2])
    limit = (6 / (E + layer.gates * H)) ** 0.5
    assert np.abs(layer.directions[0][0].numpy()).max() <= limit


def test_a_layer_is_saved_and_loaded(tmp_path: Any) -> None:
    x, is_word = words()
    shown, mask = keras.Input((None, E)), keras.Input((None,), dtype="bool")
    model = keras.Model([shown, mask], GRU(H)(shown, mask))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded([x, is_word]).numpy() == pytest.approx(model([x, is_word]).numpy())
