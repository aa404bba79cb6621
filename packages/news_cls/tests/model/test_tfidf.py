"""TF-IDF and logistic regression are those of scikit-learn, and are saved and loaded exactly."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from hvdcore.errors import UserError
from news_cls.data.sample import write_news
from news_cls.data.tokens import tokenize
from news_cls.model.tfidf import fit_tfidf, load_tfidf, save_tfidf
from news_cls.training.train_tfidf import score_split

NEWS = [write_news(i) for i in range(240)]
TEXTS = [text for _, text in NEWS]
LABELS = np.array([label for label, _ in NEWS])


def test_it_is_the_pipeline_of_scikit_learn() -> None:
    ours = fit_tfidf(TEXTS[:200], LABELS[:200], 4)
    theirs = TfidfVectorizer(
        tokenizer=tokenize, token_pattern=None, lowercase=False, ngram_range=(1, 2),
        sublinear_tf=True, min_df=2,
    )  # fmt: skip
    regression = LogisticRegression(C=10.0, max_iter=1000)
    regression.fit(theirs.fit_transform(TEXTS[:200]), LABELS[:200])
    expected = regression.predict_proba(theirs.transform(TEXTS[200:]))
    assert np.exp(ours.log_probabilities(TEXTS[200:])) == pytest.approx(expected, abs=1e-9)
    assert ours.num_parameters == regression.coef_.size + 4


@pytest.mark.parametrize("classes", [(0, 1), (0, 2, 3)])
def test_a_class_without_texts_is_never_predicted(classes: tuple[int, ...]) -> None:
    chosen = np.flatnonzero(np.isin(LABELS, classes))
    found = fit_tfidf([TEXTS[i] for i in chosen], LABELS[chosen], 4).log_probabilities(TEXTS[:9])
    assert set(found.argmax(axis=1)) <= set(classes)
    assert np.exp(found).sum(axis=1) == pytest.approx(1.0)


def test_a_saved_model_is_loaded_exactly(tmp_path: Path) -> None:
    model = fit_tfidf(TEXTS, LABELS, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_tfidf(tmp_path, model, tuple("abcd"))
        loaded, classes = load_tfidf(tmp_path)
    assert classes == tuple("abcd")
    assert loaded.sha256 == model.sha256
    assert (loaded.log_probabilities(TEXTS) == model.log_probabilities(TEXTS)).all()
    assert model.log_probabilities([]).shape == (0, 4)


def test_a_damaged_model_is_one_line(tmp_path: Path) -> None:
    save_tfidf(tmp_path, fit_tfidf(TEXTS, LABELS, 4), tuple("abcd"))
    whole = (tmp_path / "tfidf.safetensors").read_bytes()
    (tmp_path / "tfidf.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged or incomplete"):
        load_tfidf(tmp_path)


def test_a_model_of_no_numbers_or_of_another_shape_is_one_line(tmp_path: Path) -> None:
    model = fit_tfidf(TEXTS, LABELS, 4)
    for wrong, why in (
        (replace(model, biases=np.full(4, np.nan)), "not finite"),
        (replace(model, idf=model.idf[:-1]), "do not match"),
    ):
        save_tfidf(tmp_path, wrong, tuple("abcd"))
        with pytest.raises(UserError, match=why):
            load_tfidf(tmp_path)


def test_an_empty_split_has_no_score() -> None:
    from news_cls.data.dataset import Names, Ragged, Split, Texts, offsets_of

    nothing = Ragged(np.zeros(0, np.int32), offsets_of([]))
    split = Split(nothing, np.zeros(0, np.int64), Texts(nothing), Names((), np.zeros((0, 2), int)))
    assert score_split(fit_tfidf(TEXTS, LABELS, 4), split) is None
