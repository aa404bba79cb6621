"""The recurrent layers of the networks: LSTM or GRU, in both directions."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from news_cls.model.recurrence import gru, lstm

__all__ = ["GRU", "LSTM"]

register = keras.saving.register_keras_serializable(package="news_cls")


class _BothWays(keras.layers.Layer):
    """Reads [B, T, E] from the beginning and from the end: states [B, T, 2 H], zero at padding.

    Weights have Keras's shapes, order of gates and first values; what is computed at words is what
    `keras.layers.LSTM` and `keras.layers.GRU` compute there.

    Args:
        units: H.
    """

    gates: int

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.supports_masking = True

    def build(self, shape: Any, *_: Any) -> None:
        """For words of `shape`, [B, T, E]."""
        self.directions = [self._weights(name, int(shape[-1])) for name in ("forward", "backward")]

    def _weights(self, name: str, width: int) -> tuple[Any, Any, Any]:
        wide = self.gates * self.units
        kernel = self.add_weight((width, wide), "glorot_uniform", name=f"{name}_kernel")
        recurrent = self.add_weight((self.units, wide), "orthogonal", name=f"{name}_recurrent")
        return kernel, recurrent, self._bias(f"{name}_bias")

    def _bias(self, name: str) -> Any:
        raise NotImplementedError

    def _states(self, forward: Any, backward: Any, is_word: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def call(self, embedded: Any, is_word: Any) -> Any:
        """Args: words [B, T, E], and where there are some, bool [B, T]."""
        ahead = ops.transpose(embedded, (1, 0, 2))
        word = ops.transpose(ops.cast(is_word, ahead.dtype))
        words = ops.stack([word, ops.flip(word, 0)], 1)[..., None]
        forward, backward = self._states(ahead, ops.flip(ahead, 0), words)
        return ops.transpose(ops.concatenate([forward, ops.flip(backward, 0)], -1), (1, 0, 2))

    def compute_output_spec(self, embedded: Any, is_word: Any) -> keras.KerasTensor:
        shape = (*embedded.shape[:2], 2 * self.units)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@register
class LSTM(_BothWays):
    """See `recurrence.lstm`. The forget gate's bias starts at 1 (Jozefowicz et al. 2015)."""

    gates = 4

    def _bias(self, name: str) -> Any:
        bias = self.add_weight((4 * self.units,), "zeros", name=name)
        bias.assign(ops.concatenate([ops.zeros(self.units), ops.ones(self.units),
                                     ops.zeros(2 * self.units)]))  # fmt: skip
        return bias

    def _states(self, forward: Any, backward: Any, is_word: Any) -> tuple[Any, Any]:
        said = [
            _linear(x, _cell_last(kernel), _cell_last(bias))
            for x, (kernel, _, bias) in zip((forward, backward), self.directions, strict=True)
        ]
        recurrent = tf.stack([_cell_last(recurrent) for _, recurrent, _ in self.directions])
        return lstm(*said, tf.cast(recurrent, forward.dtype), is_word)


@register
class GRU(_BothWays):
    """See `recurrence.gru`; a bias for the words and one for the state, [2, 3 H], as in Keras."""

    gates = 3

    def _bias(self, name: str) -> Any:
        return self.add_weight((2, 3 * self.units), "zeros", name=name)

    def _states(self, forward: Any, backward: Any, is_word: Any) -> tuple[Any, Any]:
        said = [
            _linear(x, kernel, bias[0])
            for x, (kernel, _, bias) in zip((forward, backward), self.directions, strict=True)
        ]
        recurrent = tf.stack([tf.cast(r, forward.dtype) for _, r, _ in self.directions])
        bias = tf.stack([tf.cast(b, forward.dtype)[1:] for _, _, b in self.directions])
        return gru(*said, recurrent, bias, is_word)


def _cell_last(weight: Any) -> Any:
    """Keras's order of gates (input, forget, cell, output) to that of `lstm`: sigmoids first."""
    let_in, forget, cell, let_out = tf.split(tf.convert_to_tensor(weight), 4, -1)
    return tf.concat([let_in, forget, let_out, cell], -1)


def _linear(x: Any, kernel: Any, bias: Any) -> Any:
    """[T, B, E] to [T, B, G]."""
    kernel, bias = tf.cast(kernel, x.dtype), tf.cast(bias, x.dtype)
    flat = tf.nn.bias_add(tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel), bias)
    return tf.reshape(flat, [tf.shape(x)[0], tf.shape(x)[1], kernel.shape[-1]])
