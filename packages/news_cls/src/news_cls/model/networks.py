"""The networks by name, and the layers that Keras does not have.

A network takes token ids and dropout masks and returns the logits of several heads: a recurrent
layer, convolution filters over a few words beside it, and a linear model of hashed words, word
pairs and character n-grams, which is hard to beat on news. Each head is trained independently, and
the mean of their logits is the prediction: trained on the mean, the fastest one would keep the
others from learning.

No layer looks beyond its sample or draws random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from news_cls.config import ModelFields
from news_cls.model.recurrent import GRU, LSTM
from news_cls.model.subwords import HashedSubwords
from news_cls.model.vectorizer import Vectorizer

__all__ = [
    "LEARNING_RATES",
    "HashedNgrams",
    "LinearOfNgrams",
    "Masking",
    "MeanOfHeads",
    "OnesLike",
    "PaddingMask",
    "PoolOverTime",
    "build_network",
    "num_features",
    "serving_model",
]

_MULTIPLIERS = (2654435761, 40503, 2246822519)
"""Odd constants of Knuth's hash and of xxHash, which spread neighboring ids over the buckets."""
HEAD = 12
"""Number of words at the beginning of a text that are taken as its title."""
LEARNING_RATES = {"lstm": 1e-3, "gru": 1e-3, "cnn": 1e-3}
"""Peak learning rates of AdamW at 64 texts per step."""
Encoder = Callable[[Any, Any, ModelFields], Any]
"""Word vectors [B, T, E] and a mask, bool [B, T], to states [B, T, H]."""
WIDTHS = (2, 3, 4)
"""Widths of the convolution filters in words (Kim 2014)."""

register = keras.saving.register_keras_serializable(package="news_cls")


def register_earlier(name: str) -> Callable[[type], type]:
    """Register a layer also under its name in models that earlier versions saved.

    Apply it before `register`: the last name registered is the one that is saved.
    """
    return keras.saving.register_keras_serializable(package="news_cls", name=name)


@register
@register_earlier("IsWord")
class PaddingMask(keras.layers.Layer):
    """True where ids [B, T] are words and False at padding, bool [B, T]."""

    def call(self, ids: Any) -> Any:
        return ops.not_equal(ids, 0)

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        return keras.KerasTensor(ids.shape, dtype="bool")


@register
@register_earlier("Blanked")
class Masking(keras.layers.Layer):
    """Values [B, T, E] with zeros where a mask, bool [B, T], is False."""

    supports_masking = True

    def call(self, embedded: Any, padding_mask: Any) -> Any:
        return embedded * ops.expand_dims(ops.cast(padding_mask, embedded.dtype), -1)

    def compute_output_spec(self, embedded: Any, padding_mask: Any) -> keras.KerasTensor:
        return keras.KerasTensor(embedded.shape, dtype=embedded.dtype)


@register
@register_earlier("Ones")
class OnesLike(keras.layers.Layer):
    """Ones `[B, *shape]` for ids `[B, T]`: the dropout mask that drops nothing."""

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
    """Masked states [B, T, H] to [B, 3 H]: maximum, mean, and mean of the first words."""

    supports_masking = True

    def call(self, states: Any, padding_mask: Any) -> Any:
        weights = ops.expand_dims(ops.cast(padding_mask, states.dtype), -1)
        positions = ops.expand_dims(ops.arange(ops.shape(states)[1]), -1)
        head = weights * ops.cast(positions < HEAD, states.dtype)
        largest = ops.max(states - 1e4 * (1.0 - weights), axis=1)
        return ops.concatenate([largest, _mean(states, weights), _mean(states, head)], axis=-1)

    def compute_mask(self, *_: Any) -> None:
        """The output has no time dimension."""

    def compute_output_spec(self, states: Any, padding_mask: Any) -> keras.KerasTensor:
        return keras.KerasTensor((states.shape[0], 3 * states.shape[2]), dtype=states.dtype)


def _mean(states: Any, weights: Any) -> Any:
    return ops.sum(states * weights, axis=1) / (ops.sum(weights, axis=1) + 1e-6)


@register
class HashedNgrams(keras.layers.Layer):
    """Ids [B, T] to buckets [B, 3 T]: words, pairs of adjacent words, and words of the beginning.

    Bucket 0 is padding.

    Args:
        buckets: number of buckets.
    """

    def __init__(self, buckets: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.buckets = buckets

    def call(self, ids: Any) -> Any:
        ids = ops.cast(ids, "int64")
        following = ops.pad(ids[:, 1:], [[0, 0], [0, 1]])
        positions = ops.arange(ops.shape(ids)[1])
        one, two, head = _MULTIPLIERS
        words = self._bucket(ids * one, ids > 0)
        pairs = self._bucket(ids * two * 65537 + following * one, following > 0)
        heads = self._bucket(ids * head + 1, ops.logical_and(ids > 0, positions < HEAD))
        return ops.concatenate([words, pairs, heads], axis=1)

    def _bucket(self, keys: Any, exists: Any) -> Any:
        mixed = ops.bitwise_xor(keys, ops.right_shift(keys, 15))
        bucket = ops.mod(mixed, self.buckets - 1) + 1
        return ops.cast(ops.where(exists, bucket, 0), "int32")

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        length = None if ids.shape[1] is None else 3 * ids.shape[1]
        return keras.KerasTensor((ids.shape[0], length), dtype="int32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "buckets": self.buckets}


@register
class LinearOfNgrams(keras.layers.Layer):
    """A linear model: the sum of the table's rows for the buckets [B, N], scaled, [B, C].

    Args:
        buckets: rows of the table.
        num_classes: C.
        scale: of the sum, which is divided by the root of the number of n-grams; with Adam it acts
            like a learning rate.
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
        count = ops.sum(exists, axis=1, keepdims=True)
        return self.scale * ops.sum(rows, axis=1) / ops.sqrt(1.0 + count)

    def compute_output_spec(self, buckets: Any) -> keras.KerasTensor:
        return keras.KerasTensor((buckets.shape[0], self.num_classes), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        own = {"buckets": self.buckets, "num_classes": self.num_classes, "scale": self.scale}
        return {**super().get_config(), **own}


def _encoders(config: ModelFields) -> dict[str, int]:
    """The encoders of a network, each with the size of its states."""
    found = {} if config.model == "cnn" else {config.model: 2 * config.hidden_dim}
    return {**found, "cnn": len(WIDTHS) * config.conv_dim} if config.conv_dim else found


def num_features(config: ModelFields) -> int:
    """Number of pooled features of a text, F."""
    return 3 * sum(_encoders(config).values())


def build_network(
    config: ModelFields,
    vectors: npt.NDArray[np.float32],
    num_classes: int,
    seed: int,
    encoders: Mapping[str, Encoder] | None = None,
    words: Sequence[str] = (),
) -> keras.Model:
    """A network with fresh weights, the same for the same seed.

    Args:
        vectors: the initial word vectors, [vocabulary, E]; row 0 is padding.
        encoders: by name, instead of those of this package.
        words: the vocabulary, from id 2 on, whose character n-grams the linear model takes;
            without it, it takes none.

    Returns:
        A model of ids int32 [B, T], a dropout mask of word vectors [B, 1, E] and one of features
        [B, F]; its logits are [B, H, C].
    """
    keras.utils.set_random_seed(seed)
    ids = keras.Input((None,), dtype="int32", name="ids")
    embed_mask = keras.Input((1, vectors.shape[1]), name="embed_mask")
    feature_mask = keras.Input((num_features(config),), name="feature_mask")
    mask = PaddingMask(name="padding_mask")(ids)
    known = keras.initializers.Constant(vectors)
    embedded = layers.Embedding(*vectors.shape, embeddings_initializer=known, name="words")(ids)
    embedded = layers.Multiply()([embedded, embed_mask])
    encoders, heads, start = {**ENCODERS, **(encoders or {})}, [], 0
    for name, width in _encoders(config).items():
        states = encoders[name](embedded, mask, config)
        pooled = PoolOverTime(name=f"{name}_pool")(states, mask)
        kept = feature_mask[:, start : start + 3 * width]
        start += 3 * width
        features = layers.Multiply()([pooled, kept])
        heads.append(layers.Dense(num_classes, name=f"{name}_logits")(features))
    if config.ngram_buckets:
        heads.append(_linear(ids, words, config, num_classes))
    stacked = layers.Concatenate(axis=1)(
        [layers.Reshape((1, num_classes))(logits) for logits in heads]
    )
    return keras.Model([ids, embed_mask, feature_mask], stacked, name=config.model)


def _linear(ids: Any, words: Sequence[str], config: ModelFields, num_classes: int) -> Any:
    """The logits [B, C] of the linear model: of words and pairs, and of character n-grams."""
    ngrams = HashedNgrams(config.ngram_buckets, name="ngrams")(ids)
    logits = LinearOfNgrams(config.ngram_buckets, num_classes, name="linear")(ngrams)
    if not words or not config.subword_buckets:
        return logits
    buckets = config.subword_buckets
    subwords = HashedSubwords(words, buckets, name="subwords")(ids)
    subword_logits = LinearOfNgrams(buckets, num_classes, name="linear_of_subwords")(subwords)
    return layers.Add()([logits, subword_logits])


def _lstm(embedded: Any, mask: Any, config: ModelFields) -> Any:
    return LSTM(config.hidden_dim, name="recurrent")(embedded, mask)


def _gru(embedded: Any, mask: Any, config: ModelFields) -> Any:
    return GRU(config.hidden_dim, name="recurrent")(embedded, mask)


def _cnn(embedded: Any, mask: Any, config: ModelFields) -> Any:
    """Filters of several widths over the words, [B, T, 3 conv_dim]; padding is zero."""
    words = Masking(name="masking")(embedded, mask)
    return layers.Concatenate()(
        [
            layers.Conv1D(config.conv_dim, width, padding="same", activation="relu")(words)
            for width in WIDTHS
        ]
    )


def serving_model(network: keras.Model, vectorizer: Vectorizer) -> keras.Model:
    """The network as it is saved: a model of raw strings [n] that gives logits [n, C].

    It shares the network's weights.
    """
    texts = keras.Input((), dtype="string", name="texts")
    ids = vectorizer(texts)
    masks = [OnesLike(mask.shape[1:], name=f"no_{mask.name}")(ids) for mask in network.inputs[1:]]
    logits = MeanOfHeads(name="mean_logits")(network([ids, *masks]))
    return keras.Model(texts, logits, name=network.name)


ENCODERS: dict[str, Encoder] = {"lstm": _lstm, "gru": _gru, "cnn": _cnn}
