"""The layers that Keras does not have: masks, pooling over time, and the hashed linear model.

None looks beyond its sample, and none draws at random.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

__all__ = [
    "Blanked",
    "HashedNgrams",
    "IsWord",
    "LinearOfNgrams",
    "MeanOfHeads",
    "Ones",
    "PoolOverTime",
]

register = keras.saving.register_keras_serializable(package="news_cls")

_MULTIPLIERS = (2654435761, 40503, 2246822519)
"""Odd numbers of Knuth's and xxHash's, which spread neighbouring ids over the buckets."""
HEAD = 12
"""Words at the beginning of a text that count as its title."""


@register
class IsWord(keras.layers.Layer):
    """Where ids [B, T] are no padding, bool [B, T]."""

    def call(self, ids: Any) -> Any:
        return ops.not_equal(ids, 0)

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        return keras.KerasTensor(ids.shape, dtype="bool")


@register
class Blanked(keras.layers.Layer):
    """[B, T, E] with zeros where bool [B, T] says that there is no word."""

    supports_masking = True

    def call(self, embedded: Any, is_word: Any) -> Any:
        return embedded * ops.expand_dims(ops.cast(is_word, embedded.dtype), -1)

    def compute_output_spec(self, embedded: Any, is_word: Any) -> keras.KerasTensor:
        return keras.KerasTensor(embedded.shape, dtype=embedded.dtype)


@register
class Ones(keras.layers.Layer):
    """A mask that leaves out nothing, [B, *shape], for ids [B, T]."""

    def __init__(self, shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = tuple(shape)

    def call(self, ids: Any) -> Any:
        return ops.ones((ops.shape(ids)[0], *self.shape), dtype="float32")

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        return keras.KerasTensor((ids.shape[0], *self.shape), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shape": list(self.shape)}


@register
class MeanOfHeads(keras.layers.Layer):
    """Logits [B, H, C] to [B, C]."""

    def call(self, heads: Any) -> Any:
        return ops.mean(ops.cast(heads, "float32"), axis=1)


@register
class PoolOverTime(keras.layers.Layer):
    """[B, T, H] and bool [B, T] to [B, 3 H]: maximum, mean, and mean of the first words."""

    supports_masking = True

    def call(self, states: Any, is_word: Any) -> Any:
        weights = ops.expand_dims(ops.cast(is_word, states.dtype), -1)
        places = ops.expand_dims(ops.arange(ops.shape(states)[1]), -1)
        head = weights * ops.cast(places < HEAD, states.dtype)
        largest = ops.max(states - 1e4 * (1.0 - weights), axis=1)
        return ops.concatenate([largest, _mean(states, weights), _mean(states, head)], axis=-1)

    def compute_mask(self, *_: Any) -> None:
        """There is no time any more."""

    def compute_output_spec(self, states: Any, is_word: Any) -> keras.KerasTensor:
        return keras.KerasTensor((states.shape[0], 3 * states.shape[2]), dtype=states.dtype)


def _mean(states: Any, weights: Any) -> Any:
    return ops.sum(states * weights, axis=1) / (ops.sum(weights, axis=1) + 1e-6)


@register
class HashedNgrams(keras.layers.Layer):
    """Ids [B, T] to buckets [B, 3 T]: words, pairs of neighbours, and words of the beginning.

    Bucket 0 is for what is no n-gram: padding.

    Args:
        buckets: how many there are.
    """

    def __init__(self, buckets: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.buckets = buckets

    def call(self, ids: Any) -> Any:
        ids = ops.cast(ids, "int64")
        following = ops.pad(ids[:, 1:], [[0, 0], [0, 1]])
        places = ops.arange(ops.shape(ids)[1])
        one, two, head = _MULTIPLIERS
        words = self._bucket(ids * one, ids > 0)
        pairs = self._bucket(ids * two * 65537 + following * one, following > 0)
        heads = self._bucket(ids * head + 1, ops.logical_and(ids > 0, places < HEAD))
        return ops.concatenate([words, pairs, heads], axis=1)

    def _bucket(self, keys: Any, exists: Any) -> Any:
        mixed = ops.bitwise_xor(keys, ops.right_shift(keys, 15))
        place = ops.mod(mixed, self.buckets - 1) + 1
        return ops.cast(ops.where(exists, place, 0), "int32")

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        length = None if ids.shape[1] is None else 3 * ids.shape[1]
        return keras.KerasTensor((ids.shape[0], length), dtype="int32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "buckets": self.buckets}


@register
class LinearOfNgrams(keras.layers.Layer):
    """A linear model: the rows of a table for the buckets [B, N], summed and scaled, [B, C].

    Args:
        buckets: rows of the table.
        num_classes: C.
        scale: of the sum, which is divided by the root of the number of n-grams; with Adam it is
            what a learning rate is elsewhere.
    """

    def __init__(self, buckets: int, num_classes: int, scale: float = 16.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.buckets, self.num_classes, self.scale = buckets, num_classes, scale

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(
            (self.buckets, self.num_classes), initializer="zeros", name="table"
        )

    def call(self, buckets: Any) -> Any:
        exists = ops.cast(buckets > 0, self.compute_dtype)
        rows = ops.take(self.table, buckets, axis=0) * ops.expand_dims(exists, -1)
        number = ops.sum(exists, axis=1, keepdims=True)
        return self.scale * ops.sum(rows, axis=1) / ops.sqrt(1.0 + number)

    def compute_output_spec(self, buckets: Any) -> keras.KerasTensor:
        return keras.KerasTensor((buckets.shape[0], self.num_classes), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        own = {"buckets": self.buckets, "num_classes": self.num_classes, "scale": self.scale}
        return {**super().get_config(), **own}
