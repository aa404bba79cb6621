"""The recurrences of LSTM and GRU in two directions at once, with gradients written by hand.

Keras's loop computes each direction by itself, and TensorFlow derives its gradient: a weight's part
in every step, added up. Here one loop serves both directions, and the gradients of the weights are
single products over all steps. Everything is [T, 2, B, ...]: time first, then the direction, of
which the second reads the texts from their ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

__all__ = ["gru", "lstm"]


def lstm(forward: Any, backward: Any, recurrent: Any, is_word: Any) -> tuple[Any, Any]:
    """States of a layer of LSTMs (Hochreiter & Schmidhuber 1997; Keras's equations).

    Args:
        forward, backward: what the words say to the gates, [T, B, 4 H], in the order input,
            forget, output, cell.
        recurrent: what the last state says to them, [2, H, 4 H], in the same order.
        is_word: 1 at words and 0 elsewhere, [T, 2, B, 1]. There, state and cell are zero.

    Returns:
        Of each direction, [T, B, H], in the order in which it reads.
    """

    def step(state: Sequence[Any], ahead: Any, back: Any, word: Any) -> Any:
        hidden, cell = state
        width = hidden.shape[-1]
        gates = tf.stack([ahead, back]) + tf.matmul(hidden, recurrent)
        open_, new = tf.sigmoid(gates[..., : 3 * width]), tf.tanh(gates[..., 3 * width :])
        let_in, keep, let_out = tf.split(open_, 3, -1)
        cell = word * (keep * cell + let_in * new)
        hidden = let_out * tf.tanh(cell)
        return (hidden, cell), (hidden, cell, open_, new)

    def step_back(
        state: Sequence[Any], ahead: Any, back: Any, cell: Any, before: Any, open_: Any, new: Any,
        word: Any,
    ) -> Any:  # fmt: skip
        hidden_grad, cell_grad = state
        let_in, keep, let_out = tf.split(open_, 3, -1)
        shown = tf.tanh(cell)
        hidden_grad += tf.stack([ahead, back])
        cell_grad = word * (cell_grad + hidden_grad * let_out * (1.0 - shown * shown))
        opened = tf.concat([cell_grad * new, cell_grad * before, hidden_grad * shown], -1)
        gates = [opened * open_ * (1.0 - open_), cell_grad * let_in * (1.0 - new * new)]
        gates_grad = tf.concat(gates, -1)
        back_to = tf.matmul(gates_grad, recurrent, transpose_b=True)
        return (back_to, cell_grad * keep), (gates_grad,)

    @tf.custom_gradient
    def states(forward: Any, backward: Any, recurrent: Any) -> Any:
        zero = _zeros(forward, recurrent)
        hidden, cell, open_, new = _scan(step, (zero, zero), (forward, backward, is_word), 4)

        def gradient(ahead: Any, back: Any) -> Any:
            inputs = (ahead, back, cell, _before(cell), open_, new, is_word)
            (gates,) = _scan(step_back, (zero, zero), inputs, 1, backwards=True)
            return gates[:, 0], gates[:, 1], _weight_gradient(hidden, gates)

        return (hidden[:, 0], hidden[:, 1]), gradient

    found: tuple[Any, Any] = states(forward, backward, recurrent)
    return found


def gru(forward: Any, backward: Any, recurrent: Any, bias: Any, is_word: Any) -> tuple[Any, Any]:
    """States of a layer of GRUs (Cho et al. 2014), the reset gate after the product as in cuDNN.

    Args:
        forward, backward: what the words say to the gates, [T, B, 3 H]: update, reset, state.
        recurrent: what the last state says to them, [2, H, 3 H], in the same order.
        bias: of that, [2, 1, 3 H].
        is_word: 1 at words and 0 elsewhere, [T, 2, B, 1]. There, the state is zero.

    Returns:
        Of each direction, [T, B, H], in the order in which it reads.
    """

    def step(state: Sequence[Any], ahead: Any, back: Any, word: Any) -> Any:
        (hidden,) = state
        width = hidden.shape[-1]
        said, last = tf.stack([ahead, back]), tf.matmul(hidden, recurrent) + bias
        open_ = tf.sigmoid(said[..., : 2 * width] + last[..., : 2 * width])
        keep, reset = tf.split(open_, 2, -1)
        own = last[..., 2 * width :]
        new = tf.tanh(said[..., 2 * width :] + reset * own)
        hidden = word * (new + keep * (hidden - new))
        return (hidden,), (hidden, open_, new, own)

    def step_back(
        state: Sequence[Any], ahead: Any, back: Any, before: Any, open_: Any, new: Any, own: Any,
        word: Any,
    ) -> Any:  # fmt: skip
        keep, reset = tf.split(open_, 2, -1)
        hidden_grad = word * (state[0] + tf.stack([ahead, back]))
        new_grad = hidden_grad * (1.0 - keep) * (1.0 - new * new)
        opened = tf.concat([hidden_grad * (before - new), new_grad * own], -1)
        opened *= open_ * (1.0 - open_)
        last = tf.concat([opened, new_grad * reset], -1)
        back_to = hidden_grad * keep + tf.matmul(last, recurrent, transpose_b=True)
        return (back_to,), (tf.concat([opened, new_grad], -1), last)

    @tf.custom_gradient
    def states(forward: Any, backward: Any, recurrent: Any, bias: Any) -> Any:
        zero = _zeros(forward, recurrent)
        hidden, open_, new, own = _scan(step, (zero,), (forward, backward, is_word), 4)

        def gradient(ahead: Any, back: Any) -> Any:
            inputs = (ahead, back, _before(hidden), open_, new, own, is_word)
            said, last = _scan(step_back, (zero,), inputs, 2, backwards=True)
            of_bias = tf.reduce_sum(last, [0, 2])[:, None]
            return said[:, 0], said[:, 1], _weight_gradient(hidden, last), of_bias

        return (hidden[:, 0], hidden[:, 1]), gradient

    found: tuple[Any, Any] = states(forward, backward, recurrent, bias)
    return found


def _scan(
    step: Callable[..., Any],
    state: tuple[Any, ...],
    inputs: Sequence[Any],
    num_outputs: int,
    *,
    backwards: bool = False,
) -> list[Any]:
    """What `step(state, *inputs[t])` gives beside its next state, stacked over time."""
    steps, dtype = tf.shape(inputs[0])[0], inputs[0].dtype

    def array() -> tf.TensorArray:
        return tf.TensorArray(dtype, steps, clear_after_read=False)

    given = [array().unstack(x) for x in inputs]

    def body(number: Any, state: Any, made: Any) -> Any:
        time = steps - 1 - number if backwards else number
        state, outputs = step(state, *(x.read(time) for x in given))
        made = tuple(a.write(time, out) for a, out in zip(made, outputs, strict=True))
        return number + 1, state, made

    empty = tuple(array() for _ in range(num_outputs))
    _, _, made = tf.while_loop(
        lambda number, *_: number < steps, body, (0, state, empty), maximum_iterations=steps
    )
    return [a.stack() for a in made]


def _zeros(words: Any, recurrent: Any) -> Any:
    """The state before the first step, [2, B, H]."""
    return tf.zeros([2, tf.shape(words)[1], recurrent.shape[1]], words.dtype)


def _before(states: Any) -> Any:
    """The states one step earlier, [T, 2, B, H]."""
    return tf.concat([tf.zeros_like(states[:1]), states[:-1]], 0)


def _weight_gradient(hidden: Any, gates: Any) -> Any:
    """Of `recurrent`, [2, H, G]: one product over all steps and texts for each direction."""
    width, number = hidden.shape[-1], gates.shape[-1]

    def product(direction: int) -> Any:
        last = tf.reshape(hidden[:-1, direction], [-1, width])
        said = tf.reshape(gates[1:, direction], [-1, number])
        return tf.matmul(last, said, transpose_a=True)

    return tf.stack([product(0), product(1)])
