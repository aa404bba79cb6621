"""The printed figures, against answers worked out by hand and against scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

import hvdcore.keras
from hvdcore.world import World
from image_cls import evaluate as module
from image_cls.evaluate import Score, classifier, evaluate
from image_cls.figures import Mistake, most_confident_mistakes
from image_cls.image_data import Part


def part(labels: npt.ArrayLike) -> Part:
    """Pictures whose first value is their number."""
    numbers = np.asarray(labels, dtype=np.int64)
    pixels = np.zeros((len(numbers), 16, 16, 3), dtype=np.uint8)
    pixels[:, 0, 0, 0] = np.arange(len(numbers))
    return Part(pixels, numbers, [str(i) for i in range(len(numbers))])


def answering(probabilities: npt.NDArray[np.float64]) -> module.Classifier:
    """A classifier that has these answers for the pictures of `part`."""
    return lambda pixels: np.log(probabilities[pixels[:, 0, 0, 0]])


def pooled(
    monkeypatch: pytest.MonkeyPatch, classify: module.Classifier, pictures: Part, size: int
) -> Score:
    """What all ranks together find: each rank's share is counted, then added up."""
    sent: list[list[Any]] = []

    def collect(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        sent[-1].append(array)
        return array

    monkeypatch.setattr(module, "allreduce_sum", collect)
    for rank in range(size):
        sent.append([])
        evaluate(classify, pictures, 4, World(rank, size, rank, size, "gloo"))
    nll, matrix = (sum(arrays) for arrays in zip(*sent, strict=True))
    return Score(float(nll[0]), matrix)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40])
def test_scores_are_those_of_scikit_learn_on_all_predictions(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    # 31 pictures: uneven shares, and with 40 ranks some have none. Class 3 has no picture.
    random = np.random.default_rng(5)
    pictures = part(random.integers(0, 3, 31))
    probabilities = random.dirichlet(np.ones(4), 31)
    score = pooled(monkeypatch, answering(probabilities), pictures, size)
    predicted = probabilities.argmax(axis=1)
    assert score.matrix.tolist() == metrics.confusion_matrix(
        pictures.labels, predicted, labels=range(4)
    ).tolist()  # fmt: skip
    values = score.with_classes(("a", "b", "c", "d"))
    assert values["loss"] == pytest.approx(
        metrics.log_loss(pictures.labels, probabilities, labels=range(4))
    )
    assert values["accuracy"] == metrics.accuracy_score(pictures.labels, predicted)
    assert values["macro_f1"] == pytest.approx(
        metrics.f1_score(pictures.labels, predicted, average="macro", zero_division=0)
    )
    theirs = metrics.classification_report(
        pictures.labels, predicted, labels=range(4), target_names=list("abcd"),
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
    assert values["num_images"] == 4
    assert values["loss"] == pytest.approx(1.5 * math.log(2))
    assert values["accuracy"] == 0.75
    # F1 of the classes: 2*2/(2+3) = 0.8 and 2*1/(2+1) = 2/3.
    assert values["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_the_compiled_model_gives_log_probabilities(batch_size: int) -> None:
    images = keras.Input((16, 16, 3))
    network = keras.Model(images, keras.layers.Dense(3)(keras.layers.Flatten()(images)))
    pixels = np.random.default_rng(1).integers(0, 256, (9, 16, 16, 3)).astype(np.uint8)
    found = classifier(network, batch_size)(pixels)
    logits = network(pixels.astype(np.float32)).numpy().astype(np.float64)
    expected = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    expected -= logits.max(1, keepdims=True)
    assert found == pytest.approx(expected, abs=1e-3)
    assert classifier(network, batch_size)(pixels[:0]).shape == (0, 3)


def test_a_model_that_knows_nothing_loses_ln_of_the_classes() -> None:
    images = keras.Input((16, 16, 3))
    flat = keras.layers.Flatten()(images)
    network = keras.Model(images, keras.layers.Dense(4, kernel_initializer="zeros")(flat))
    pictures = part([0, 1, 2, 3, 3])
    score = evaluate(classifier(network, 2), pictures, 4, hvdcore.keras.init())
    assert score.loss == pytest.approx(math.log(4), rel=1e-6)
    assert score.num_images == 5


def test_mistakes_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
    found = most_confident_mistakes(probabilities, np.array([1, 1, 0, 0]), 2)
    assert found == [Mistake(0, 1, 0, 0.9), Mistake(3, 0, 1, 0.7)]
    assert most_confident_mistakes(probabilities, np.array([0, 1, 1, 1]), 2) == []
