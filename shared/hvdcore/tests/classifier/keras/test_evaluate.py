"""Scores and probabilities, against values worked out by hand and against scikit-learn."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from hvdcore.classifier.figures import Mistake, most_confident_mistakes
from hvdcore.classifier.keras.evaluate import SplitPredictor, evaluate, gather_probabilities
from hvdcore.classifier.score import Score
from hvdcore.keras import init
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices
from hvdcore.testing.classifier_task import Points, TinyTask, network


def points_with(labels: npt.ArrayLike) -> Points:
    numbers = np.asarray(labels, dtype=np.int64)
    points = np.random.default_rng(1).uniform(-1, 1, (len(numbers), 2)).astype(np.float32)
    return Points(points, numbers)


def predicting(probabilities: npt.NDArray[np.float64]) -> Any:
    """A classifier that predicts these probabilities for the samples of a split."""

    def predict(split: Points, indices: Indices) -> npt.NDArray[np.float64]:
        return np.log(probabilities[indices])

    return predict


def pooled(monkeypatch: pytest.MonkeyPatch, predict: Any, points: Points, size: int) -> Score:
    """The score over all ranks: each rank's sums, added up."""
    sent: list[list[Any]] = []

    def collect(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        sent[-1].append(array)
        return array

    monkeypatch.setattr(
        import_module("hvdcore.classifier.keras.evaluate"), "allreduce_sum", collect
    )
    for rank in range(size):
        sent.append([])
        evaluate(predict, points, np.arange(len(points)), 4, World(rank, size, rank, size, "gloo"))
    nll, matrix = (sum(arrays) for arrays in zip(*sent, strict=True))
    return Score(float(nll[0]), matrix)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40])
def test_scores_are_those_of_scikit_learn_on_all_predictions(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    # 31 samples: uneven shards, and with 40 ranks some have none. Class 3 has no sample.
    random = np.random.default_rng(5)
    points = points_with(random.integers(0, 3, 31))
    probabilities = random.dirichlet(np.ones(4), 31)
    score = pooled(monkeypatch, predicting(probabilities), points, size)
    predicted = probabilities.argmax(axis=1)
    assert score.matrix.tolist() == metrics.confusion_matrix(
        points.labels, predicted, labels=range(4)
    ).tolist()  # fmt: skip
    values = score.with_classes(("a", "b", "c", "d"))
    assert values["loss"] == pytest.approx(
        metrics.log_loss(points.labels, probabilities, labels=range(4))
    )
    assert values["accuracy"] == metrics.accuracy_score(points.labels, predicted)
    assert values["macro_f1"] == pytest.approx(
        metrics.f1_score(points.labels, predicted, average="macro", zero_division=0)
    )
    theirs = metrics.classification_report(
        points.labels, predicted, labels=range(4), target_names=list("abcd"),
        output_dict=True, zero_division=0,
    )  # fmt: skip
    for name in "abcd":
        ours = values["classes"][name]
        assert [ours[k] for k in ("precision", "recall", "f1", "support")] == pytest.approx(
            [theirs[name][k] for k in ("precision", "recall", "f1-score", "support")]
        )


def test_a_score_by_hand() -> None:
    score = Score(nll_sum=6 * math.log(2), matrix=np.array([[2, 1], [0, 1]]))
    values = score.to_json()
    assert values["num_samples"] == 4
    assert values["loss"] == pytest.approx(1.5 * math.log(2))
    assert values["accuracy"] == 0.75
    # F1 of the classes: 2*2/(2+3) = 0.8 and 2*1/(2+1) = 2/3.
    assert values["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)


def test_log_probabilities_are_in_the_order_of_the_indices() -> None:
    model, points = network(), points_with([0, 1, 2, 0, 1])
    chosen = np.array([4, 0, 3])
    found = SplitPredictor(model, TinyTask(points))(points, chosen)
    logits = model(points.points[chosen]).numpy().astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert found == pytest.approx(expected, abs=1e-6)
    assert SplitPredictor(model, TinyTask(points))(points, chosen[:0]).shape == (0, 3)


def test_uniform_predictions_have_a_loss_of_ln_c() -> None:
    inputs = keras.Input((2,))
    blank = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="zeros")(inputs))
    points = points_with([0, 1, 2, 2, 2])
    predict, every = SplitPredictor(blank, TinyTask(points)), np.arange(5)
    score = evaluate(predict, points, every, 3, init())
    assert score.loss == pytest.approx(math.log(3), rel=1e-6)
    assert score.num_samples == 5
    assert gather_probabilities(predict, points, every, 3, init()) == pytest.approx(1 / 3)


def test_mistakes_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
    found = most_confident_mistakes(probabilities, np.array([1, 1, 0, 0]), 2)
    assert found == [Mistake(0, 1, 0, 0.9), Mistake(3, 0, 1, 0.7)]
    assert most_confident_mistakes(probabilities, np.array([0, 1, 1, 1]), 2) == []
