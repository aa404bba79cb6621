"""The layer computes the same ids as the Python code, whatever the text."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

tf = pytest.importorskip("tensorflow")
import keras  # noqa: E402

from news_cls.data.clean import clean  # noqa: E402
from news_cls.data.sample import write_news  # noqa: E402
from news_cls.data.tokens import encode, tokenize  # noqa: E402
from news_cls.model.vectorizer import Vectorizer  # noqa: E402

ODD = [
    "", " ", "\\", "&lt;br&gt;", "AT amp;T #39;s &lt;b&gt;old&lt;/b&gt; \\$3\\nThe",
    "Ärger ÎLE ΟΔΟΣ οδός İstanbul ISI ẞtraße ǅ Ⅷ ﬁne", "北京 ニュース です 한국어",
    "नमस्ते। مرحبا، עברית",
    "🙂👍🏽👩‍👩‍👧 🏳️‍🌈", "a\x00b\x07c\x85d\u2028e\u200bf\ufeffg", "x" * 5000, "w " * 500,
    "'[]{}()^$.*+?|\\-/", "&amp;amp;quot;x", "e\u0301 ɐʇ ①½²", "\ufffd \U0010ffff \ue000",
]  # fmt: skip
MIXED = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            ["#39;", " quot;", "&lt;", "lt;", "gt;", "amp;", "<b>", "</A>", "\\", "\\n", "$", ";",
             "&", "#", "38;", "x27;", " ", "<a ", ">", "Σ", "İ", "I"]
        ),
    ),
    max_size=12,
).map("".join)  # fmt: skip


def check(texts: Sequence[str], max_length: int = 80) -> int:
    """Compare the two; the number of tokens."""
    tokens = [tokenize(clean(text)[0]) for text in texts]
    # Half of the words are known, so that unknown ones are met too.
    words = sorted({token for row in tokens for token in row})[::2]
    ids = {word: number for number, word in enumerate(words, start=2)}
    expected = [encode(row, ids, max_length).tolist() for row in tokens]
    layer = Vectorizer(words, max_length)
    found: list[list[int]] = []
    for start in range(0, len(texts), 4096):
        batch = tf.constant([text.encode() for text in texts[start : start + 4096]])
        found += layer.ragged(batch).to_list()
    wrong = [text for text, a, b in zip(texts, expected, found, strict=True) if a != b]
    assert wrong == []
    return sum(map(len, expected))


def test_on_the_sample() -> None:
    assert check([write_news(number)[1] for number in range(4800)]) > 100_000


def test_on_odd_texts() -> None:
    check(ODD)
    check(ODD, max_length=3)


def test_on_every_character() -> None:
    words = [f"x{chr(code)}Y" for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    check([" ".join(words[start : start + 256]) for start in range(0, len(words), 256)], 1024)


@settings(max_examples=60)
@given(st.lists(MIXED, min_size=1, max_size=20))
def test_on_any_text(texts: list[str]) -> None:
    check(texts)


def test_what_is_no_utf8_is_one_unknown_character() -> None:
    layer = Vectorizer(["a", "b", "\ufffd"], 8)
    assert layer.ragged(tf.constant([b"a\xffb", b"\xc3"])).to_list() == [[2, 4, 3], [4]]


def test_ids_are_filled_up_and_cut() -> None:
    layer = Vectorizer(["the", "cat"], 4)
    ids = layer(tf.constant(["The cat!", "", "the the the the the cat"]))
    assert ids.dtype == tf.int32
    assert ids.numpy().tolist() == [[2, 3, 1, 0], [0, 0, 0, 0], [2, 2, 2, 2]]
    assert layer(tf.constant([["The cat!"]])).numpy().tolist() == [[2, 3, 1, 0]]


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="max_length: got 0"):
        Vectorizer(["a"], 0)
    with pytest.raises(ValueError, match="a word occurs twice"):
        Vectorizer(["a", "a"], 3)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    texts = keras.Input(shape=(), dtype="string")
    ids = Vectorizer(["the", "cat", "'", "naïve"], 5)(texts)
    return keras.Model(texts, keras.layers.Embedding(6, 2, mask_zero=True)(ids))


RAW = ["The cat #39;s &lt;b&gt;NAÏVE&lt;/b&gt;", "dog"]


def test_a_saved_model_takes_raw_texts(model: keras.Model, tmp_path: Path) -> None:
    expected = model(tf.constant(RAW)).numpy()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(tf.constant(RAW)).numpy(), expected)
    np.testing.assert_array_equal(loaded.predict(tf.constant(RAW), verbose=0), expected)


def test_an_exported_model_needs_nothing_of_ours(model: keras.Model, tmp_path: Path) -> None:
    expected = model(tf.constant(RAW)).numpy()
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_array_equal(loaded.serve(tf.constant(RAW)).numpy(), expected)


def test_the_rules_of_the_time_of_saving_stay(tmp_path: Path) -> None:
    layer = Vectorizer(["a", "b"], 3, rules=[("x+", "a ")])
    again = Vectorizer.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again(tf.constant(["xxb"])).numpy().tolist() == [[2, 3, 0]]


ELSEWHERE = """
import tensorflow as tf
from news_cls.data.tokens import tokenize
from news_cls.model.vectorizer import Vectorizer
text = "TITLE İstanbul DIŞ Ì Í Ĩ Į J́ Į́"
words = sorted(set(tokenize(text)))
layer = Vectorizer(words, 40)
print([words[i - 2] for i in layer.ragged(tf.constant([text])).to_list()[0]] == tokenize(text))
print(tf.strings.lower("I Ì", encoding="utf-8").numpy().decode() == "i ì")
"""


@pytest.mark.proof
@pytest.mark.parametrize("language", ["tr_TR", "lt_LT"])
def test_on_a_machine_of_another_language(language: str) -> None:
    """Control: there, TensorFlow's own lower-casing is another one."""
    env = os.environ | {"LC_ALL": f"{language}.UTF-8"}
    line = [sys.executable, "-c", ELSEWHERE]
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.data
def test_on_ag_news(ag_news: Path) -> None:
    texts = []
    for name in ("train.csv", "test.csv"):
        with (ag_news / name).open(encoding="utf-8", newline="") as file:
            texts += [f"{title} {text}" for _, title, text in csv.reader(file)]
    assert check(texts) > 1_000_000
    cleaned = [clean(text)[0] for text in texts]
    assert [clean(text)[0] for text in cleaned] == cleaned
