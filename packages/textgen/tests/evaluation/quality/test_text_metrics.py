"""Every figure of a quality_report against a value worked out by hand, or another way to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from textgen.evaluation.quality.page import FIGURES, quality_table
from textgen.evaluation.quality.scorer import Scored
from textgen.evaluation.quality.scores import HUMAN, figures_of, settings
from textgen.evaluation.quality.text_metrics import (
    Bleu,
    Distinct,
    Figure,
    estimate,
    repetition,
    resamples,
    rouge,
    self_bleu,
)

TEXTS = ["the cat sat on the mat", "a dog ran over the old bridge", "it rained. It rained again"]
TRUE = ["the cat lay on the mat", "a dog ran under the old bridge", "nobody came to the house"]
ALL = np.arange(3)


def test_bleu_is_sacrebleus() -> None:
    expected = sacrebleu.corpus_bleu(TEXTS, [TRUE])
    assert Bleu(TEXTS, TRUE)(ALL) == pytest.approx(expected.score)
    assert 0 < expected.score < 100
    some = sacrebleu.corpus_bleu(TEXTS[:1] * 2, [TRUE[:1] * 2])
    assert Bleu(TEXTS, TRUE)(np.array([0, 0])) == pytest.approx(some.score)
    assert Bleu(TEXTS, TEXTS)(ALL) == pytest.approx(100)
    assert Bleu(["", ""], ["a b", "c"])(np.arange(2)) == 0


def test_bleu_by_hand() -> None:
    # Of 4 words 3 match, of 3 bigrams 2, of 2 trigrams 1, of 1 four-gram 0, which is smoothed to
    # 1/2; the lengths are equal.
    value = Bleu(["a b c x"], ["a b c d"])(np.array([0]))
    assert value == pytest.approx(100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25)


def test_rouge_by_hand() -> None:
    found = rouge(["The cat sat!"], ["the cat was here"])
    # Unigrams: 2 of 3 and of 4; bigrams: 1 of 2 and of 3; longest common subsequence: 2.
    assert found["rouge1"].tolist() == pytest.approx([2 * 2 / (3 + 4)])
    assert found["rouge2"].tolist() == pytest.approx([2 * 1 / (2 + 3)])
    assert found["rougeL"].tolist() == pytest.approx([2 * 2 / (3 + 4)])
    assert rouge(["größer"], ["Größer"])["rouge1"].tolist() == [1.0]  # letters beyond a to z
    assert rouge([""], ["a"])["rouge1"].tolist() == [0.0]


def test_rouge_is_the_packages_own_for_english() -> None:
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    ours = rouge(TEXTS, TRUE)
    for number, (text, true) in enumerate(zip(TEXTS, TRUE, strict=True)):
        for name, score in scorer.score(true, text).items():
            assert ours[name][number] == pytest.approx(score.fmeasure)


def test_distinct_by_hand() -> None:
    texts = ["a b a b", "b c"]
    # Words: a b a b b c has 3 of 6. Bigrams: ab ba ab bc has 3 of 4. Trigrams: aba bab, all.
    assert [Distinct(texts, n)(np.arange(2)) for n in (1, 2, 3)] == [3 / 6, 3 / 4, 1.0]
    assert Distinct(texts, 1)(np.array([1, 1])) == 1.0  # a text chosen twice counts once
    assert Distinct(["a"], 2)(np.array([0])) == 0.0


def test_repetition_by_hand() -> None:
    # abcd bcda cdab dabc abcd: five 4-grams, four of them different.
    assert repetition(["a b c d a b c d", "a b c d e", "a b"]).tolist() == pytest.approx(
        [0.2, 0, 0]
    )
    assert repetition(["x x x x x x"]).tolist() == pytest.approx([2 / 3])


def test_self_bleu_is_sacrebleus_against_the_others() -> None:
    texts = [*TEXTS, "the cat sat on the old bridge"]
    pairwise = [
        sacrebleu.sentence_bleu(text, [other for other in texts if other != text]).score
        for text in texts
    ]
    assert self_bleu(texts).tolist() == pytest.approx(pairwise)
    assert self_bleu(["one and the same"] * 3).tolist() == pytest.approx([100.0] * 3)


def test_the_interval_of_a_constant_is_the_constant() -> None:
    assert estimate(lambda _: 0.25, resamples(7, 50, 0)) == Figure(0.25, 0.25, 0.25)


def test_the_interval_of_a_mean() -> None:
    """Of 400 draws with deviation 1 the mean has 1/20, and 95 % lie within 1.96 of that."""
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    found = estimate(lambda chosen: float(values[chosen].mean()), resamples(400, 4000, 0))
    assert found.value == values.mean()
    half = 1.96 * values.std() / 20
    assert found.high - found.value == pytest.approx(half, rel=0.08)
    assert found.value - found.low == pytest.approx(half, rel=0.08)


def test_resamples_repeat_with_their_seed() -> None:
    assert (resamples(5, 9, 1) == resamples(5, 9, 1)).all()
    assert (resamples(5, 9, 1) != resamples(5, 9, 2)).any()
    assert resamples(5, 9, 1).shape == (9, 5)


def test_the_interval_stays_in_its_bounds() -> None:
    values = np.array([0.0, 0.0, 0.0, 1.0])
    found = estimate(lambda chosen: float(values[chosen].mean()), resamples(4, 200, 0), (0.1, 0.6))
    assert (found.low, found.high) == (0.1, 0.6)


def scored(nll: float, num_tokens: int, num_bytes: int) -> Scored:
    return Scored(nll, num_tokens, num_bytes, [1.0, nll])


def test_all_figures_of_a_set_of_texts() -> None:
    marks = [scored(2 * math.log(2), 2, 4), scored(6 * math.log(2), 2, 4), scored(0.0, 0, 0)]
    found = figures_of(TEXTS, TRUE, marks, marks, seed=0)
    assert list(found) == [shown.name for shown in FIGURES]
    assert found["bleu"].value == pytest.approx(sacrebleu.corpus_bleu(TEXTS, [TRUE]).score)
    assert found["num_words"].value == pytest.approx((6 + 7 + 5) / 3)
    # 8 bits over 4 tokens and 8 bytes: sums are divided, no means.
    assert found["scorer_perplexity"].value == pytest.approx(4.0)
    assert found["scorer_bits_per_byte"].value == pytest.approx(1.0)
    assert found["mauve"].value == pytest.approx(1.0)  # the same features on both sides
    assert all(one.low <= one.value <= one.high for one in found.values())


def test_what_cannot_be_divided_is_no_figure() -> None:
    nothing = [scored(0.0, 0, 0)] * 2
    found = figures_of(["", ""], ["a b", "c d"], nothing, nothing, seed=0)
    assert math.isnan(found["scorer_perplexity"].value)
    assert math.isnan(found["scorer_bits_per_byte"].low)
    row = found["scorer_perplexity"].to_json()
    table = quality_table({HUMAN: {"scorer_perplexity": {**row, "value": None}}})
    assert table.rows == [["perplexity, scorer", "-"]]


def test_the_table_tells_value_and_interval() -> None:
    figure = {"value": 0.5, "low": 0.25, "high": 0.75}
    table = quality_table({HUMAN: {"bleu": figure}, "greedy": {}})
    assert table.header == ["", HUMAN, "greedy"]
    assert table.rows == [["BLEU", "0.50 [0.25, 0.75]", "-"]]
    sure = quality_table({HUMAN: {"bleu": dict.fromkeys(figure, 100.0)}})
    assert sure.rows == [["BLEU", "100.00"]]


def test_the_settings_are_stated() -> None:
    found = settings(60)
    assert (
        found["bleu"]
        == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    )
    assert found["rouge"].startswith("rouge-score 0.1.")
    assert "k-means of 6 clusters, c = 5" in found["mauve"]


def test_resamples_without_a_figure_are_left_out() -> None:
    values = np.array([1.0, np.nan])
    found = estimate(lambda chosen: float(values[chosen[:1]].mean()), resamples(2, 50, 0))
    assert found == Figure(1.0, 1.0, 1.0)


def test_without_scikit_learn_mauve_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    marks = [scored(1.0, 2, 4)] * 3
    found = figures_of(TEXTS, TRUE, marks, marks, seed=0)
    assert list(found) == [shown.name for shown in FIGURES if shown.name != "mauve"]
    assert settings(60)["mauve"] is None
