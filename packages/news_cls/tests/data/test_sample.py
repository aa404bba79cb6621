"""The sample: the same every time, no model beats its ceiling, and word order matters."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest

from news_cls.data.clean import clean
from news_cls.data.sample import CEILING, CLASSES, MARKERS, OWN, write_news
from news_cls.data.sources import SAMPLE_TEST, SAMPLE_TRAIN
from news_cls.data.tokens import tokenize

BAG_OF_WORDS_AT_MOST = 0.75
"""Accuracy that TF-IDF and logistic regression stay below, with single words and with pairs."""


@pytest.fixture(scope="module")
def sample() -> tuple[list[str], np.ndarray]:
    pairs = [write_news(number) for number in range(SAMPLE_TRAIN + SAMPLE_TEST)]
    return [text for _, text in pairs], np.array([label for label, _ in pairs])


def test_it_is_the_same_for_good(sample: tuple[list[str], np.ndarray]) -> None:
    texts, labels = sample
    digest = hashlib.sha256("\n".join(texts).encode() + labels.astype(np.int8).tobytes())
    assert digest.hexdigest()[:16] == "0586901814efdbd6"


def test_no_text_comes_twice(sample: tuple[list[str], np.ndarray]) -> None:
    assert len({" ".join(tokenize(clean(text)[0])) for text in sample[0]}) == len(sample[0])


def main_clause(text: str) -> str:
    """What a reader of the grammar holds for the main clause."""
    sentence = clean(text)[0].split(" - ", 1)[-1].split(".")[0].lower()
    first, *rest = re.split(rf"\b(?:{'|'.join(MARKERS)})\b", sentence)
    return first if first.strip() else rest[0].split(",")[1]


def read(text: str) -> int:
    """The class by the words of the main clause that belong to one subject alone."""
    words = main_clause(text).split()
    return int(np.argmax([sum(word in own for word in words) for own in OWN]))


def test_a_reader_of_the_order_reaches_the_ceiling(sample: tuple[list[str], np.ndarray]) -> None:
    texts, labels = sample
    accuracy = np.mean([read(text) for text in texts] == labels)
    # Three standard errors of 4,800 texts.
    assert accuracy == pytest.approx(CEILING, abs=3 * (CEILING * (1 - CEILING) / 4800) ** 0.5)
    assert pytest.approx(0.9412) == CEILING


@pytest.mark.parametrize("longest", [1, 2])
def test_a_bag_of_words_stays_below(sample: tuple[list[str], np.ndarray], longest: int) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, labels = sample
    vectorizer = TfidfVectorizer(ngram_range=(1, longest), sublinear_tf=True, min_df=2)
    train = vectorizer.fit_transform(texts[:SAMPLE_TRAIN])
    model = LogisticRegression(C=10.0, max_iter=1000).fit(train, labels[:SAMPLE_TRAIN])
    accuracy = model.score(vectorizer.transform(texts[SAMPLE_TRAIN:]), labels[SAMPLE_TRAIN:])
    assert 0.6 < accuracy < BAG_OF_WORDS_AT_MOST


def test_classes_are_about_alike(sample: tuple[list[str], np.ndarray]) -> None:
    counts = np.bincount(sample[1])
    assert len(counts) == len(CLASSES)
    assert counts.min() > 0.9 * len(sample[1]) / len(CLASSES)
