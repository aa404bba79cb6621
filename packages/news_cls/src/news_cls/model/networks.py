"""The networks by name: ids and masks in, the logits of several heads out.

Recurrent layers read the words in their order. Beside them stand filters over a few words, and a
linear model of hashed words and word pairs, which is hard to beat on news. Each head is trained by
itself, and the mean of their logits is the answer: trained on the mean, the fastest of them would
keep the others from learning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from news_cls.config import ModelFields
from news_cls.model.layers import (
    Blanked,
    HashedNgrams,
    IsWord,
    LinearOfNgrams,
    MeanOfHeads,
    Ones,
    PoolOverTime,
)
from news_cls.model.recurrent import GRU, LSTM
from news_cls.model.vectorizer import Vectoriser

__all__ = ["LEARNING_RATES", "build_network", "num_features", "serving_model"]

LEARNING_RATES = {"lstm": 1e-3, "gru": 1e-3, "cnn": 1e-3}
"""Peak rates of AdamW at 64 texts a step."""
Reader = Callable[[Any, Any, ModelFields], Any]
"""Of word vectors [B, T, E] and bool [B, T], where words are, to [B, T, numbers of a word]."""
WIDTHS = (2, 3, 4)
"""Words that a filter of `cnn` sees (Kim 2014)."""


def _readers(config: ModelFields) -> dict[str, int]:
    """The networks that read the words, each with the numbers that it makes of a word."""
    found = {} if config.model == "cnn" else {config.model: 2 * config.hidden_dim}
    return {**found, "cnn": len(WIDTHS) * config.conv_dim} if config.conv_dim else found


def num_features(config: ModelFields) -> int:
    """Pooled features of a text, F."""
    return 3 * sum(_readers(config).values())


def build_network(
    config: ModelFields,
    vectors: npt.NDArray[np.float32],
    num_classes: int,
    seed: int,
    readers: Mapping[str, Reader] | None = None,
) -> keras.Model:
    """A network with fresh weights, the same for the same seed.

    Args:
        vectors: what the word vectors start with, [vocabulary, E]; row 0 is padding.
        readers: of words [B, T, E] by name, in place of those of this package.

    Returns:
        A model of ids int32 [B, T], a mask of word vectors [B, 1, E] and one of features [B, F];
        its logits are [B, H, C].
    """
    keras.utils.set_random_seed(seed)
    ids = keras.Input((None,), dtype="int32", name="ids")
    embed_mask = keras.Input((1, vectors.shape[1]), name="embed_mask")
    feature_mask = keras.Input((num_features(config),), name="feature_mask")
    is_word = IsWord(name="is_word")(ids)
    known = keras.initializers.Constant(vectors)
    embedded = layers.Embedding(*vectors.shape, embeddings_initializer=known, name="words")(ids)
    embedded = layers.Multiply()([embedded, embed_mask])
    readers, heads, start = {**READERS, **(readers or {})}, [], 0
    for name, width in _readers(config).items():
        pooled = PoolOverTime(name=f"{name}_pool")(
            readers[name](embedded, is_word, config), is_word
        )
        mask = feature_mask[:, start : start + 3 * width]
        start += 3 * width
        features = layers.Multiply()([pooled, mask])
        heads.append(layers.Dense(num_classes, name=f"{name}_logits")(features))
    if config.ngram_buckets:
        ngrams = HashedNgrams(config.ngram_buckets, name="ngrams")(ids)
        heads.append(LinearOfNgrams(config.ngram_buckets, num_classes, name="linear")(ngrams))
    stacked = layers.Concatenate(axis=1)(
        [layers.Reshape((1, num_classes))(logits) for logits in heads]
    )
    return keras.Model([ids, embed_mask, feature_mask], stacked, name=config.model)


def _lstm(embedded: Any, is_word: Any, config: ModelFields) -> Any:
    return LSTM(config.hidden_dim, name="recurrent")(embedded, is_word)


def _gru(embedded: Any, is_word: Any, config: ModelFields) -> Any:
    return GRU(config.hidden_dim, name="recurrent")(embedded, is_word)


def _cnn(embedded: Any, is_word: Any, config: ModelFields) -> Any:
    """Filters of several widths over the words, [B, T, 3 conv_dim]; beyond the text is zero."""
    words = Blanked(name="blanked")(embedded, is_word)
    return layers.Concatenate()(
        [
            layers.Conv1D(config.conv_dim, width, padding="same", activation="relu")(words)
            for width in WIDTHS
        ]
    )


def serving_model(network: keras.Model, vectoriser: Vectoriser) -> keras.Model:
    """The network as it is saved: a model of raw strings [n] that gives logits [n, C].

    It shares the network's weights.
    """
    texts = keras.Input((), dtype="string", name="texts")
    ids = vectoriser(texts)
    masks = [Ones(mask.shape[1:], name=f"no_{mask.name}")(ids) for mask in network.inputs[1:]]
    answer = MeanOfHeads(name="answer")(network([ids, *masks]))
    return keras.Model(texts, answer, name=network.name)


READERS: dict[str, Reader] = {"lstm": _lstm, "gru": _gru, "cnn": _cnn}
