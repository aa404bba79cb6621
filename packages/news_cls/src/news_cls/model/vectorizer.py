"""The layer that turns raw texts into token ids inside a saved model, which thus takes strings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.classifier.keras import Inputs
from hvdcore.sharding import Indices
from news_cls.data.clean import RULES
from news_cls.data.dataset import Split, TextData
from news_cls.data.tokens import ACRONYM, SIGMAS, SINGLES, UNKNOWN

__all__ = [
    "RawTexts",
    "Vectorizer",
    "string_batch",
]


# The second name is that of models which earlier versions saved.
@keras.saving.register_keras_serializable(package="news_cls")
@keras.saving.register_keras_serializable(package="news_cls", name="Vectoriser")
class Vectorizer(keras.layers.Layer):
    """Raw strings to ids: cleaned, tokenized, lower-cased and looked up, all in TensorFlow.

    It computes the same ids as `clean`, `tokenize` and `encode`. Loading a model with this layer
    needs this package; the rules are saved in the layer's configuration, so a model keeps the rules
    it was trained with.

    Args:
        words: the vocabulary, in the order of the ids from 2 on.
        max_length: tokens to keep of a text.
        rules: (pattern, replacement) of the cleaning; by default those of this version.
        singles: the characters that are tokens by themselves; by default as above.
        acronym: pattern of the tokens that keep their capitals; by default as above.

    Raises:
        ValueError: `max_length` is below 1, or a word occurs twice.
    """

    def __init__(
        self,
        words: Sequence[str],
        max_length: int,
        *,
        rules: Sequence[Sequence[str]] | None = None,
        singles: str = SINGLES,
        acronym: str = ACRONYM,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable=False, dtype="int32", **kwargs)
        if max_length < 1:
            raise ValueError(f"max_length: got {max_length}; give 1 or more")
        if len(set(words)) != len(words):
            raise ValueError("words: a word occurs twice; give each once")
        self.words, self.max_length = list(words), max_length
        self.singles, self.acronym = singles, acronym
        pairs = [(rule.pattern, rule.replacement) for rule in RULES] if rules is None else rules
        self.rules = [(str(pattern), str(replacement)) for pattern, replacement in pairs]
        self._table = _lookup_table(self.words)

    def ragged(self, texts: Any) -> tf.RaggedTensor:
        """The ids of each text, at most `max_length`, without padding.

        Args:
            texts: string [n].

        Returns:
            int32 ragged [n, (tokens)].
        """
        text = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        for pattern, replacement in self.rules:
            text = tf.strings.regex_replace(text, pattern, replacement)
        spaced = tf.strings.regex_replace(text, f"([{self.singles}])", r" \1 ")
        tokens = tf.strings.split(spaced)[:, : self.max_length]
        return tokens.with_flat_values(self._ids(tokens.flat_values))

    def _ids(self, tokens: tf.Tensor) -> tf.Tensor:
        """int32 [n] of tokens [n]; an acronym without an id is looked up in lower case."""
        lowered = _lower(tokens)
        acronyms = self._table.lookup(tokens)
        is_acronym = tf.strings.regex_full_match(tokens, self.acronym) & (acronyms != UNKNOWN)
        return tf.where(is_acronym, acronyms, self._table.lookup(lowered))

    def call(self, texts: Any) -> tf.Tensor:
        """Ids padded with 0.

        Args:
            texts: string [n] or [n, 1].

        Returns:
            int32 [n, max_length].
        """
        flat = tf.reshape(tf.convert_to_tensor(texts), [-1])
        return self.ragged(flat).to_tensor(shape=[None, self.max_length])

    def compute_output_spec(self, texts: Any) -> keras.KerasTensor:
        """Keras cannot trace string operations by itself."""
        return keras.KerasTensor((texts.shape[0], self.max_length), dtype="int32")

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, with the vocabulary."""
        config: dict[str, Any] = super().get_config()
        for name in ("trainable", "dtype"):
            config.pop(name, None)
        own = {name: getattr(self, name) for name in ("words", "max_length", "singles", "acronym")}
        return {**config, **own, "rules": [list(pair) for pair in self.rules]}


def _lookup_table(words: Sequence[str]) -> tf.lookup.StaticHashTable:
    # An empty table is not allowed, and no token is empty.
    keys = tf.constant(list(words) or [""], dtype=tf.string)
    ids = tf.range(UNKNOWN + 1, UNKNOWN + 1 + keys.shape[0], dtype=tf.int32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), UNKNOWN)


def _lower(text: tf.Tensor) -> tf.Tensor:
    """As `news_cls.data.tokens.lower`, whatever the locale is."""
    # ICU follows the locale: in Turkish it would make a dotless i of I, in Lithuanian it would keep
    # the dot under accents.
    text = tf.strings.lower(text)
    for capital in "İÌÍĨĮ":
        text = tf.strings.regex_replace(text, capital, capital.lower())
    text = tf.strings.lower(text, encoding="utf-8")
    return tf.strings.regex_replace(text, *SIGMAS)


class RawTexts:
    """Splits of raw texts for a saved model; see `hvdcore.classifier.keras.EvalTask`.

    Args:
        rows: texts per batch.
    """

    def __init__(self, data: TextData, rows: int) -> None:
        self.classes, self.splits, self.rows = data.classes, data.splits, rows

    def eval_batches(self, split: Split, indices: Indices) -> Iterator[tuple[Indices, Inputs]]:
        """In the order of `indices`."""
        for start in range(0, len(indices), self.rows):
            positions = np.arange(start, min(start + self.rows, len(indices)))
            texts = [split.texts[int(i)] for i in indices[positions]]
            yield positions, (string_batch(texts, self.rows),)


def string_batch(texts: Sequence[str], rows: int) -> npt.NDArray[np.object_]:
    """The texts as UTF-8 strings [rows], padded with empty ones."""
    found = np.full(rows, b"", dtype=object)
    for row, text in enumerate(texts):
        found[row] = text.encode("utf-8", "replace")
    return found
