"""The printed figures, against answers worked out by hand and against scikit-learn."""

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
from hvdcore.classifier.keras import Classifier, probabilities_of_all
from hvdcore.classifier.keras.evaluate import evaluate
from hvdcore.classifier.score import Score, evenly, first_of_each_class
from hvdcore.errors import UserError
from hvdcore.keras import init
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices
from hvdcore.testing.classifier_task import Points, TinyTask, network


def part(labels: npt.ArrayLike) -> Points:
    numbers = np.asarray(labels, dtype=np.int64)
    points = np.random.default_rng(1).uniform(-1, 1, (len(numbers), 2)).astype(np.float32)
    return Points(points, numbers)


def answering(probabilities: npt.NDArray[np.float64]) -> Any:
    """A classifier that has these answers for the samples of a part."""

    def answer(part: Points, indices: Indices) -> npt.NDArray[np.float64]:
        return np.log(probabilities[indices])

    return answer


def pooled(monkeypatch: pytest.MonkeyPatch, classify: Any, points: Points, size: int) -> Score:
    """What all ranks together find: each rank's share is counted, then added up."""
    sent: list[list[Any]] = []

    def collect(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        sent[-1].append(array)
        return array

    monkeypatch.setattr(
        import_module("hvdcore.classifier.keras.evaluate"), "allreduce_sum", collect
    )
    for rank in range(size):
        sent.append([])
        evaluate(classify, points, np.arange(len(points)), 4, World(rank, size, rank, size, "gloo"))
    nll, matrix = (sum(arrays) for arrays in zip(*sent, strict=True))
    return Score(float(nll[0]), matrix)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40])
def test_scores_are_those_of_scikit_learn_on_all_predictions(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    # 31 samples: uneven shares, and with 40 ranks some have none. Class 3 has no sample.
    random = np.random.default_rng(5)
    points = part(random.integers(0, 3, 31))
    probabilities = random.dirichlet(np.ones(4), 31)
    score = pooled(monkeypatch, answering(probabilities), points, size)
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


def test_the_compiled_model_gives_log_probabilities_in_order() -> None:
    model, points = network(), part([0, 1, 2, 0, 1])
    chosen = np.array([4, 0, 3])
    found = Classifier(model, TinyTask(points))(points, chosen)
    logits = model(points.points[chosen]).numpy().astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert found == pytest.approx(expected, abs=1e-6)
    assert Classifier(model, TinyTask(points))(points, chosen[:0]).shape == (0, 3)


def test_a_model_that_knows_nothing_loses_ln_of_the_classes() -> None:
    inputs = keras.Input((2,))
    blank = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="zeros")(inputs))
    points = part([0, 1, 2, 2, 2])
    classify, every = Classifier(blank, TinyTask(points)), np.arange(5)
    score = evaluate(classify, points, every, 3, init())
    assert score.loss == pytest.approx(math.log(3), rel=1e-6)
    assert score.num_samples == 5
    assert probabilities_of_all(classify, points, every, 3, init()) == pytest.approx(1 / 3)


def test_an_even_sample_by_hand() -> None:
    assert evenly(10, 4).tolist() == [0, 2, 5, 7]
    assert evenly(3, 9).tolist() == [0, 1, 2]
    assert evenly(0, 1).tolist() == []


def test_classes_take_turns() -> None:
    labels = np.array([0, 0, 0, 1, 2, 1])
    found = [first_of_each_class(labels, n, field="num", samples="points").tolist() for n in (3, 5)]
    assert found == [[0, 3, 4], [0, 1, 3, 4, 5]]
    with pytest.raises(UserError, match="num: 7 of only 6 points; give 6 or less"):
        first_of_each_class(labels, 7, field="num", samples="points")


def test_mistakes_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
    found = most_confident_mistakes(probabilities, np.array([1, 1, 0, 0]), 2)
    assert found == [Mistake(0, 1, 0, 0.9), Mistake(3, 0, 1, 0.7)]
    assert most_confident_mistakes(probabilities, np.array([0, 1, 1, 1]), 2) == []
