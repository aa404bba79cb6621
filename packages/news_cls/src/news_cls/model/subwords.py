"""Character n-grams of the words (Bojanowski et al. 2017), for the linear model.

A word that occurs in few texts shares its n-grams with frequent ones: of "submarines" the model
knows what it has learned of "submarine" and "marine". Words outside of the vocabulary have none.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import ops

__all__ = [
    "LENGTHS",
    "MAX_NGRAMS",
    "HashedSubwords",
    "character_ngrams",
    "subword_table",
]

LENGTHS = (3, 4)
"""Characters of an n-gram."""
MAX_NGRAMS = 24
"""N-grams of a word that are kept: all those of words of up to 12 characters."""


def character_ngrams(word: str) -> list[str]:
    """The n-grams of a word in lower case and between `<` and `>`, the shortest first.

    The whole word is not among them: it has a row of its own.

    Example:
        >>> character_ngrams("US")
        ['<us', 'us>']
    """
    whole = f"<{word.lower()}>"
    found = (
        whole[start : start + length]
        for length in LENGTHS
        for start in range(len(whole) - length + 1)
    )
    return [ngram for ngram in dict.fromkeys(found) if ngram != whole][:MAX_NGRAMS]


def subword_table(words: Sequence[str], buckets: int) -> npt.NDArray[np.int32]:
    """The buckets of each word's n-grams, int32 [len(words) + 2, N], padded with 0.

    Args:
        words: the vocabulary, from id 2 on; padding and unknown words have no n-grams.
        buckets: number of buckets, of which 0 is padding.
    """
    rows = [[_bucket(ngram, buckets) for ngram in character_ngrams(word)] for word in words]
    table = np.zeros((len(words) + 2, max(map(len, rows), default=0)), dtype=np.int32)
    for number, row in enumerate(rows, start=2):
        table[number, : len(row)] = row
    return table


def _bucket(ngram: str, buckets: int) -> int:
    # CRC-32 is the same in every process; Python's own hash of a string is not.
    return zlib.crc32(ngram.encode("utf-8", "surrogatepass")) % (buckets - 1) + 1


@keras.saving.register_keras_serializable(package="news_cls")
class HashedSubwords(keras.layers.Layer):
    """Ids [B, T] to the buckets of the words' character n-grams [B, T N]; bucket 0 is padding.

    The n-grams follow from the words, which are saved in the layer's configuration.

    Args:
        words: the vocabulary, from id 2 on.
        buckets: number of buckets.
    """

    def __init__(self, words: Sequence[str], buckets: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words, self.buckets = list(words), buckets
        self._table = tf.constant(subword_table(self.words, buckets))

    def call(self, ids: Any) -> Any:
        rows, (_, count) = ops.shape(ids)[0], self._table.shape
        return ops.reshape(tf.gather(self._table, ids), (rows, ops.shape(ids)[1] * count))

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        length = None if ids.shape[1] is None else ids.shape[1] * self._table.shape[1]
        return keras.KerasTensor((ids.shape[0], length), dtype="int32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "words": self.words, "buckets": self.buckets}
