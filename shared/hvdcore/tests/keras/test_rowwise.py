"""Rows by themselves: Keras's AdamW without momentum, and untouched to the bit elsewhere."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from hvdcore.keras.adamw import RowwiseAdamW, Update

ROWS, WIDTH = 6, 3
SHAPE = tf.constant([ROWS, WIDTH])


def start() -> tuple[keras.Variable, keras.Variable]:
    draw = np.random.default_rng(0)
    table = draw.normal(size=(ROWS, WIDTH)).astype(np.float32)
    return keras.Variable(table, name="table"), keras.Variable(np.ones(2, np.float32), name="bias")


def gradients(step: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    draw = np.random.default_rng(step)
    return draw.normal(size=(ROWS, WIDTH)).astype(np.float32), np.ones(2, np.float32)


def train(optimizer: Any, rows: list[list[int]], *, sliced: bool) -> list[Any]:
    """The table and the bias after one step for each list of rows, with gradients of these."""
    variables = start()
    optimizer.build(list(variables))
    update = Update(optimizer, variables)
    for step, some in enumerate(rows):
        optimizer.learning_rate = 0.1 / (1 + step)
        table, bias = gradients(step)
        slices = tf.IndexedSlices(table[some], tf.constant(some), SHAPE)
        update([slices if sliced else tf.convert_to_tensor(slices), tf.constant(bias)])
    return [v.numpy() for v in variables]


def keras_table(weight_decay: float, beta_1: float, rows: list[list[int]]) -> Any:
    """The table after steps of Keras's AdamW with whole gradients, zero outside of `rows`."""
    optimizer = keras.optimizers.AdamW(weight_decay=weight_decay, beta_1=beta_1, beta_2=0.99)
    return train(optimizer, rows, sliced=False)[0]


EVERY = [list(range(ROWS))] * 5
SOME = [[3, 0], [2], [0, 2, 5], [2], [0], [5, 3]]


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_a_table_moves_as_by_adamw_without_momentum(weight_decay: float) -> None:
    reverse = [rows[::-1] for rows in EVERY]
    settings: dict[str, Any] = {"weight_decay": weight_decay, "beta_2": 0.99}
    ours = train(RowwiseAdamW(**settings), reverse, sliced=True)[0]
    assert ours == pytest.approx(keras_table(weight_decay, 0.0, EVERY), rel=1e-5, abs=1e-6)
    momentum = keras_table(weight_decay, 0.9, EVERY)
    assert ours != pytest.approx(momentum, rel=1e-2, abs=1e-2)  # control


def test_rows_of_some_steps_move_as_in_a_table_that_moves_whole() -> None:
    """Second moments decay in the steps between, as Adam's do."""
    ours = train(RowwiseAdamW(weight_decay=0.0, beta_2=0.99), SOME, sliced=True)[0]
    assert ours == pytest.approx(keras_table(0.0, 0.0, SOME), rel=1e-5, abs=1e-6)


def test_the_rest_moves_as_by_adamw() -> None:
    settings: dict[str, Any] = {"weight_decay": 0.3, "beta_2": 0.99}
    theirs = train(keras.optimizers.AdamW(**settings), SOME, sliced=False)[1]
    ours = train(RowwiseAdamW(**settings), SOME, sliced=True)[1]
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_other_rows_stay_to_the_bit() -> None:
    """Under Keras's AdamW their weights decay."""
    optimizer = RowwiseAdamW(weight_decay=0.3)
    variables = start()
    optimizer.build(list(variables))
    update = Update(optimizer, variables)
    for step, row in enumerate([2, 4, 4]):
        table, bias = gradients(step)
        slices = tf.IndexedSlices(table[[row]], tf.constant([row]), SHAPE)
        before = variables[0].numpy()
        update([slices, tf.constant(bias)])
        moved = np.flatnonzero((variables[0].numpy() != before).any(axis=1))
        assert moved.tolist() == [row]
    assert optimizer.iterations.numpy() == 3


def test_tables_alone_count_their_steps_too() -> None:
    """Keras's `apply` counts a step, but not one without gradients."""
    settings: dict[str, Any] = {"weight_decay": 0.0, "beta_2": 0.99}
    beside = train(RowwiseAdamW(**settings), SOME, sliced=True)[0]
    optimizer, variables = RowwiseAdamW(**settings), start()[:1]
    optimizer.build(list(variables))
    update = Update(optimizer, variables)
    for step, some in enumerate(SOME):
        optimizer.learning_rate = 0.1 / (1 + step)
        update([tf.IndexedSlices(gradients(step)[0][some], tf.constant(some), SHAPE)])
    assert optimizer.iterations.numpy() == len(SOME)
    assert (variables[0].numpy() == beside).all()


def test_the_first_step_by_hand() -> None:
    """Adam's first step is the rate, whatever the gradient's size."""
    table = start()[0].numpy()
    found = train(RowwiseAdamW(weight_decay=0.0), [[1, 5]], sliced=True)[0]
    signs = np.sign(gradients(0)[0][[1, 5]])
    assert found[[1, 5]] == pytest.approx(table[[1, 5]] - 0.1 * signs, abs=1e-5)


def test_an_optimizer_without_rows_gets_tables() -> None:
    found = train(keras.optimizers.SGD(), [[1, 5]], sliced=True)[0]
    expected = start()[0].numpy()
    expected[[1, 5]] -= 0.1 * gradients(0)[0][[1, 5]]
    assert found == pytest.approx(expected, rel=1e-6)


def test_what_comes_afterwards_sees_the_update() -> None:
    variables = start()
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(list(variables))
    copy = tf.Variable([0.0, 0.0])

    def afterwards(scale: Any) -> None:
        copy.assign(scale * variables[1].value)

    table, bias = gradients(0)
    update = Update(optimizer, variables, afterwards)
    update([tf.constant(table), tf.constant(bias)], tf.constant(2.0))
    assert copy.numpy().tolist() == [0.0, 0.0]  # twice 1 - 1
    update([tf.constant(table), tf.constant(bias)], tf.constant(2.0))
    assert copy.numpy().tolist() == [-2.0, -2.0]
