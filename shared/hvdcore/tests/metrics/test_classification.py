"""Classification scores by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvdcore.metrics.classification import accuracy, class_scores, confusion_matrix, macro_f1

LABELS = [0, 0, 1, 1, 1, 2]
PREDICTIONS = [0, 1, 1, 1, 0, 1]


def test_by_hand() -> None:
    matrix = confusion_matrix(LABELS, PREDICTIONS, 4)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[1, 1, 0, 0], [1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    scores = class_scores(matrix)
    assert scores.precision.tolist() == [1 / 2, 2 / 4, 0, 0]
    assert scores.recall.tolist() == [1 / 2, 2 / 3, 0, 0]
    assert scores.f1 == pytest.approx([1 / 2, 4 / 7, 0, 0])
    assert scores.support.tolist() == [2, 3, 1, 0]
    assert accuracy(matrix) == 3 / 6
    # Class 3 never occurs and does not count; class 2 occurs and is never found.
    assert macro_f1(matrix) == pytest.approx((1 / 2 + 4 / 7 + 0) / 3)


def test_ranks_add_up() -> None:
    shares = [confusion_matrix(LABELS[i::3], PREDICTIONS[i::3], 3) for i in range(3)]
    empty_rank = confusion_matrix([], [], 3)
    assert (sum(shares) + empty_rank).tolist() == confusion_matrix(LABELS, PREDICTIONS, 3).tolist()


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="2 labels but 1 predictions"):
        confusion_matrix([0, 1], [0], 2)
    with pytest.raises(ValueError, match=r"label 2 is not a class of 0\.\.1"):
        confusion_matrix([2], [0], 2)
    with pytest.raises(ValueError, match="prediction -1"):
        confusion_matrix([0], [-1], 2)
    with pytest.raises(ZeroDivisionError):
        macro_f1(confusion_matrix([], [], 2))
    with pytest.raises(ZeroDivisionError):
        accuracy(confusion_matrix([], [], 2))


@given(
    st.integers(2, 6).flatmap(
        lambda c: st.tuples(
            st.just(c),
            st.lists(
                st.tuples(st.integers(0, c - 1), st.integers(0, c - 1)), min_size=1, max_size=40
            ),
        )
    )
)
def test_equal_to_scikit_learn(case: tuple[int, list[tuple[int, int]]]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn to compare with")
    num_classes, pairs = case
    labels, predictions = [p[0] for p in pairs], [p[1] for p in pairs]
    classes = list(range(num_classes))
    matrix = confusion_matrix(labels, predictions, num_classes)
    assert matrix.tolist() == sklearn.confusion_matrix(labels, predictions, labels=classes).tolist()
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(
        labels, predictions, labels=classes, zero_division=0
    )
    scores = class_scores(matrix)
    assert scores.precision == pytest.approx(precision, abs=1e-12)
    assert scores.recall == pytest.approx(recall, abs=1e-12)
    assert scores.f1 == pytest.approx(f1, abs=1e-12)
    assert scores.support.tolist() == support.tolist()
    expected = sklearn.f1_score(labels, predictions, average="macro", zero_division=0)
    assert macro_f1(matrix) == pytest.approx(expected, abs=1e-12)
    assert accuracy(matrix) == pytest.approx(sklearn.accuracy_score(labels, predictions))
