"""Bidirectional LSTM and GRU layers, with gradients written by hand.

Keras loops over each direction separately, and TensorFlow derives the gradient, which adds up a
weight's contribution in every step. Here one loop computes both directions, and the gradients of
the weights are single products over all steps. Tensors are [T, 2, B, ...]: time first, then the
direction, of which the second reads the texts from the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

__all__ = [
    "GRU",
    "LSTM",
    "gru",
    "lstm",
]


def lstm(forward: Any, backward: Any, recurrent: Any, mask: Any) -> tuple[Any, Any]:
    """States of a layer of LSTMs (Hochreiter & Schmidhuber 1997; Keras's equations).

    Args:
        forward, backward: the inputs' contribution to the gates, [T, B, 4 H], in the order input,
            forget, output, cell.
        recurrent: the recurrent kernels, [2, H, 4 H], in the same order.
        mask: 1 at words and 0 at padding, [T, 2, B, 1]. At padding, state and cell are zero.

    Returns:
        The states of each direction, [T, B, H], in the order in which it reads.
    """

    def step(state: Sequence[Any], ahead: Any, back: Any, mask: Any) -> Any:
        hidden, cell = state
        width = hidden.shape[-1]
        gates = tf.stack([ahead, back]) + tf.matmul(hidden, recurrent)
        open_, new = tf.sigmoid(gates[..., : 3 * width]), tf.tanh(gates[..., 3 * width :])
        input_gate, forget_gate, output_gate = tf.split(open_, 3, -1)
        cell = mask * (forget_gate * cell + input_gate * new)
        hidden = output_gate * tf.tanh(cell)
        return (hidden, cell), (hidden, cell, open_, new)

    def step_back(
        state: Sequence[Any], ahead: Any, back: Any, cell: Any, before: Any, open_: Any, new: Any,
        mask: Any,
    ) -> Any:  # fmt: skip
        hidden_grad, cell_grad = state
        input_gate, forget_gate, output_gate = tf.split(open_, 3, -1)
        squashed = tf.tanh(cell)
        hidden_grad += tf.stack([ahead, back])
        cell_grad = mask * (cell_grad + hidden_grad * output_gate * (1.0 - squashed * squashed))
        opened = tf.concat([cell_grad * new, cell_grad * before, hidden_grad * squashed], -1)
        gates = [opened * open_ * (1.0 - open_), cell_grad * input_gate * (1.0 - new * new)]
        gates_grad = tf.concat(gates, -1)
        back_to = tf.matmul(gates_grad, recurrent, transpose_b=True)
        return (back_to, cell_grad * forget_gate), (gates_grad,)

    @tf.custom_gradient
    def states(forward: Any, backward: Any, recurrent: Any) -> Any:
        zero = _zeros(forward, recurrent)
        hidden, cell, open_, new = _scan(step, (zero, zero), (forward, backward, mask), 4)

        def gradient(ahead: Any, back: Any) -> Any:
            inputs = (ahead, back, cell, _before(cell), open_, new, mask)
            (gates,) = _scan(step_back, (zero, zero), inputs, 1, backwards=True)
            return gates[:, 0], gates[:, 1], _weight_gradient(hidden, gates)

        return (hidden[:, 0], hidden[:, 1]), gradient

    found: tuple[Any, Any] = states(forward, backward, recurrent)
    return found


def gru(forward: Any, backward: Any, recurrent: Any, bias: Any, mask: Any) -> tuple[Any, Any]:
    """States of a layer of GRUs (Cho et al. 2014), the reset gate after the product as in cuDNN.

    Args:
        forward, backward: the inputs' contribution to the gates, [T, B, 3 H]: update, reset, state.
        recurrent: the recurrent kernels, [2, H, 3 H], in the same order.
        bias: the recurrent biases, [2, 1, 3 H].
        mask: 1 at words and 0 at padding, [T, 2, B, 1]. At padding, the state is zero.

    Returns:
        The states of each direction, [T, B, H], in the order in which it reads.
    """

    def step(state: Sequence[Any], ahead: Any, back: Any, mask: Any) -> Any:
        (hidden,) = state
        width = hidden.shape[-1]
        inputs, last = tf.stack([ahead, back]), tf.matmul(hidden, recurrent) + bias
        open_ = tf.sigmoid(inputs[..., : 2 * width] + last[..., : 2 * width])
        update, reset = tf.split(open_, 2, -1)
        own = last[..., 2 * width :]
        new = tf.tanh(inputs[..., 2 * width :] + reset * own)
        hidden = mask * (new + update * (hidden - new))
        return (hidden,), (hidden, open_, new, own)

    def step_back(
        state: Sequence[Any], ahead: Any, back: Any, before: Any, open_: Any, new: Any, own: Any,
        mask: Any,
    ) -> Any:  # fmt: skip
        update, reset = tf.split(open_, 2, -1)
        hidden_grad = mask * (state[0] + tf.stack([ahead, back]))
        new_grad = hidden_grad * (1.0 - update) * (1.0 - new * new)
        opened = tf.concat([hidden_grad * (before - new), new_grad * own], -1)
        opened *= open_ * (1.0 - open_)
        last = tf.concat([opened, new_grad * reset], -1)
        back_to = hidden_grad * update + tf.matmul(last, recurrent, transpose_b=True)
        return (back_to,), (tf.concat([opened, new_grad], -1), last)

    @tf.custom_gradient
    def states(forward: Any, backward: Any, recurrent: Any, bias: Any) -> Any:
        zero = _zeros(forward, recurrent)
        hidden, open_, new, own = _scan(step, (zero,), (forward, backward, mask), 4)

        def gradient(ahead: Any, back: Any) -> Any:
            inputs = (ahead, back, _before(hidden), open_, new, own, mask)
            input_grad, last = _scan(step_back, (zero,), inputs, 2, backwards=True)
            of_bias = tf.reduce_sum(last, [0, 2])[:, None]
            return input_grad[:, 0], input_grad[:, 1], _weight_gradient(hidden, last), of_bias

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
    """The outputs of `step(state, *inputs[t])` besides the next state, stacked over time."""
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
    """The states of the previous steps, [T, 2, B, H]."""
    return tf.concat([tf.zeros_like(states[:1]), states[:-1]], 0)


def _weight_gradient(hidden: Any, gates: Any) -> Any:
    """The gradient of `recurrent`, [2, H, G]: one product over all steps per direction."""
    width, number = hidden.shape[-1], gates.shape[-1]

    def product(direction: int) -> Any:
        last = tf.reshape(hidden[:-1, direction], [-1, width])
        grads = tf.reshape(gates[1:, direction], [-1, number])
        return tf.matmul(last, grads, transpose_a=True)

    return tf.stack([product(0), product(1)])


register = keras.saving.register_keras_serializable(package="news_cls")


class _Bidirectional(keras.layers.Layer):
    """Word vectors [B, T, E] to states of both directions [B, T, 2 H], zero at padding.

    Weights have Keras's shapes, order of gates and initializers; the states at words are those of
    `keras.layers.LSTM` and `keras.layers.GRU`.

    Args:
        units: H.
    """

    gates: int

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.supports_masking = True

    def build(self, shape: Any, *_: Any) -> None:
        """For word vectors of `shape`, [B, T, E]."""
        self.directions = [self._weights(name, int(shape[-1])) for name in ("forward", "backward")]

    def _weights(self, name: str, width: int) -> tuple[Any, Any, Any]:
        wide = self.gates * self.units
        kernel = self.add_weight((width, wide), "glorot_uniform", name=f"{name}_kernel")
        recurrent = self.add_weight((self.units, wide), "orthogonal", name=f"{name}_recurrent")
        return kernel, recurrent, self._bias(f"{name}_bias")

    def _bias(self, name: str) -> Any:
        raise NotImplementedError

    def _states(self, forward: Any, backward: Any, mask: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def call(self, embedded: Any, padding_mask: Any) -> Any:
        """The states, from word vectors [B, T, E] and a mask, bool [B, T]."""
        ahead = ops.transpose(embedded, (1, 0, 2))
        weights = ops.transpose(ops.cast(padding_mask, ahead.dtype))
        both = ops.stack([weights, ops.flip(weights, 0)], 1)[..., None]
        forward, backward = self._states(ahead, ops.flip(ahead, 0), both)
        return ops.transpose(ops.concatenate([forward, ops.flip(backward, 0)], -1), (1, 0, 2))

    def compute_output_spec(self, embedded: Any, padding_mask: Any) -> keras.KerasTensor:
        shape = (*embedded.shape[:2], 2 * self.units)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@register
class LSTM(_Bidirectional):
    """See `lstm`. The bias of the forget gate is initialized to 1 (Jozefowicz et al. 2015)."""

    gates = 4

    def _bias(self, name: str) -> Any:
        bias = self.add_weight((4 * self.units,), "zeros", name=name)
        bias.assign(ops.concatenate([ops.zeros(self.units), ops.ones(self.units),
                                     ops.zeros(2 * self.units)]))  # fmt: skip
        return bias

    def _states(self, forward: Any, backward: Any, mask: Any) -> tuple[Any, Any]:
        inputs = [
            _linear(x, _cell_last(kernel), _cell_last(bias))
            for x, (kernel, _, bias) in zip((forward, backward), self.directions, strict=True)
        ]
        recurrent = tf.stack([_cell_last(recurrent) for _, recurrent, _ in self.directions])
        return lstm(*inputs, tf.cast(recurrent, forward.dtype), mask)


@register
class GRU(_Bidirectional):
    """See `gru`; one bias for the input and one for the state, [2, 3 H], as in Keras."""

    gates = 3

    def _bias(self, name: str) -> Any:
        return self.add_weight((2, 3 * self.units), "zeros", name=name)

    def _states(self, forward: Any, backward: Any, mask: Any) -> tuple[Any, Any]:
        inputs = [
            _linear(x, kernel, bias[0])
            for x, (kernel, _, bias) in zip((forward, backward), self.directions, strict=True)
        ]
        recurrent = tf.stack([tf.cast(r, forward.dtype) for _, r, _ in self.directions])
        bias = tf.stack([tf.cast(b, forward.dtype)[1:] for _, _, b in self.directions])
        return gru(*inputs, recurrent, bias, mask)


def _cell_last(weight: Any) -> Any:
    """Reorder gates from Keras's (input, forget, cell, output) to those of `lstm`: cell last."""
    input_gate, forget, cell, output_gate = tf.split(tf.convert_to_tensor(weight), 4, -1)
    return tf.concat([input_gate, forget, output_gate, cell], -1)


def _linear(x: Any, kernel: Any, bias: Any) -> Any:
    """[T, B, E] to [T, B, G]."""
    kernel, bias = tf.cast(kernel, x.dtype), tf.cast(bias, x.dtype)
    flat = tf.nn.bias_add(tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel), bias)
    return tf.reshape(flat, [tf.shape(x)[0], tf.shape(x)[1], kernel.shape[-1]])
