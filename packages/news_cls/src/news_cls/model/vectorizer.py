"""A layer that makes ids of raw texts, so that a saved model takes strings and nothing else.

Texts as a saved model takes them: raw strings in batches.
"""

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
from news_cls.data.dataset import Part, TextData
from news_cls.data.tokens import ACRONYM, SIGMAS, SINGLES, UNKNOWN

__all__ = [
    "RawTexts",
    "Vectoriser",
    "string_batch",
]


@keras.saving.register_keras_serializable(package="news_cls")
class Vectoriser(keras.layers.Layer):
    """Raw strings to ids: cleaned, cut into tokens, lower-cased and looked up, all in TensorFlow.

    Gives what `clean`, `tokenize` and `encode` give, id by id. Loading a model that holds it needs
    this package; the rules are written into its configuration, so that a model saved by one version
    cleans as it did when it was trained.

    Args:
        words: the vocabulary, in the order of the ids from 2 on.
        max_length: tokens that are kept of a text.
        rules: (pattern, replacement) of the cleaning; by default today's.
        singles: the characters that are a token each; by default today's.
        acronym: pattern of the tokens that keep their capitals; by default today's.

    Raises:
        ValueError: `max_length` is below 1, or a word comes twice.
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
            raise ValueError("words: a word comes twice; give each once")
        self.words, self.max_length = list(words), max_length
        self.singles, self.acronym = singles, acronym
        pairs = [(rule.pattern, rule.replacement) for rule in RULES] if rules is None else rules
        self.rules = [(str(pattern), str(replacement)) for pattern, replacement in pairs]
        self._table = _lookup_table(self.words)

    def ragged(self, texts: Any) -> tf.RaggedTensor:
        """Ids of each text, as many as it has tokens, at most `max_length`.

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
        """int32 [n] of tokens [n]; an acronym without an id is read in small letters."""
        lowered = _lower(tokens)
        acronyms = self._table.lookup(tokens)
        is_acronym = tf.strings.regex_full_match(tokens, self.acronym) & (acronyms != UNKNOWN)
        return tf.where(is_acronym, acronyms, self._table.lookup(lowered))

    def call(self, texts: Any) -> tf.Tensor:
        """Ids filled up with 0.

        Args:
            texts: string [n] or [n, 1].

        Returns:
            int32 [n, max_length].
        """
        flat = tf.reshape(tf.convert_to_tensor(texts), [-1])
        return self.ragged(flat).to_tensor(shape=[None, self.max_length])

    def compute_output_spec(self, texts: Any) -> keras.KerasTensor:
        """For Keras, which cannot trace string operations by itself."""
        return keras.KerasTensor((texts.shape[0], self.max_length), dtype="int32")

    def get_config(self) -> dict[str, Any]:
        """All that makes the same layer again, the vocabulary with it."""
        config: dict[str, Any] = super().get_config()
        for name in ("trainable", "dtype"):
            config.pop(name, None)
        own = {name: getattr(self, name) for name in ("words", "max_length", "singles", "acronym")}
        return {**config, **own, "rules": [list(pair) for pair in self.rules]}


def _lookup_table(words: Sequence[str]) -> tf.lookup.StaticHashTable:
    # No token is empty; a table of nothing is refused.
    keys = tf.constant(list(words) or [""], dtype=tf.string)
    ids = tf.range(UNKNOWN + 1, UNKNOWN + 1 + keys.shape[0], dtype=tf.int32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), UNKNOWN)


def _lower(text: tf.Tensor) -> tf.Tensor:
    """As `news_cls.data.tokens.lower`, whatever the language of the machine is."""
    # ICU follows the machine's language: in Turkish it would make a dotless i of I, in Lithuanian
    # it would put a dot under accents.
    text = tf.strings.lower(text)
    for capital in "İÌÍĨĮ":
        text = tf.strings.regex_replace(text, capital, capital.lower())
    text = tf.strings.lower(text, encoding="utf-8")
    return tf.strings.regex_replace(text, *SIGMAS)


class RawTexts:
    """Parts whose texts go into a saved model as they are; see `hvdcore.classifier.keras.EvalTask`.

    Args:
        rows: texts at once.
    """

    def __init__(self, data: TextData, rows: int) -> None:
        self.classes, self.parts, self.rows = data.classes, data.parts, rows

    def eval_batches(self, part: Part, indices: Indices) -> Iterator[tuple[Indices, Inputs]]:
        """In the order of `indices`."""
        for start in range(0, len(indices), self.rows):
            places = np.arange(start, min(start + self.rows, len(indices)))
            texts = [part.texts[int(i)] for i in indices[places]]
            yield places, (string_batch(texts, self.rows),)


def string_batch(texts: Sequence[str], rows: int) -> npt.NDArray[np.object_]:
    """UTF-8 strings [rows]; empty ones fill it up."""
    found = np.full(rows, b"", dtype=object)
    for row, text in enumerate(texts):
        found[row] = text.encode("utf-8", "replace")
    return found
