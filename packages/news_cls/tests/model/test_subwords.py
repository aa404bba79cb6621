"""Character n-grams of words, by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from news_cls.model.subwords import MAX_NGRAMS, HashedSubwords, character_ngrams, subword_table

TO, TO_END, US, US_END = 27, 94, 19, 38
"""The buckets of `<to`, `to>`, `<us` and `us>`, of 100."""


def test_ngrams_by_hand() -> None:
    expected = ["<wi", "win", "ins", "ns>", "<win", "wins", "ins>"]
    assert character_ngrams("wins") == expected


@pytest.mark.parametrize("word", ["a", ",", "\u00e9"])
def test_a_single_character_has_none(word: str) -> None:
    assert character_ngrams(word) == []


def test_the_whole_word_is_not_among_them() -> None:
    assert character_ngrams("net") == ["<ne", "net", "et>", "<net", "net>"]
    assert character_ngrams("up") == ["<up", "up>"]


def test_acronyms_share_the_ngrams_of_words() -> None:
    assert character_ngrams("NATO") == character_ngrams("nato")


def test_each_ngram_counts_once_in_a_word() -> None:
    found = character_ngrams("nananana")
    assert len(found) == len(set(found))
    assert found.count("nan") == 1


def test_long_words_keep_the_shortest_ngrams() -> None:
    twelve, longer = character_ngrams("abcdefghijkl"), character_ngrams("abcdefghijklmnopqr")
    assert len(twelve) == 12 + 11
    assert len(longer) == MAX_NGRAMS
    assert longer[:18] == [ngram for ngram in longer if len(ngram) == 3]


def test_the_table_by_hand() -> None:
    """A saved model makes its table anew, so these numbers must stay: CRC-32 modulo 99, plus 1."""
    found = subword_table(("to", "a", "US"), 100)
    assert found.tolist() == [[0, 0], [0, 0], [TO, TO_END], [0, 0], [US, US_END]]


def test_no_ngrams_at_all() -> None:
    assert subword_table((",", "a"), 100).shape == (4, 0)
    assert HashedSubwords((",", "a"), 100)(np.array([[2, 3, 0]])).shape == (1, 0)


def test_the_layer_by_hand() -> None:
    """Padding (0) and unknown words (1) have no n-grams."""
    found = HashedSubwords(("to", "US"), 100)(np.array([[3, 2], [1, 0]], dtype=np.int32)).numpy()
    assert found.tolist() == [[US, US_END, TO, TO_END], [0, 0, 0, 0]]
    assert found.dtype == np.int32


def test_the_layer_is_made_again_from_its_configuration() -> None:
    layer = HashedSubwords(("north", "\u03c3\u03bf\u03c6\u03af\u03b1"), 1000)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    ids = np.array([[2, 3]], dtype=np.int32)
    assert (again(ids).numpy() == layer(ids).numpy()).all()
    assert layer(ids).numpy().min() > 0
