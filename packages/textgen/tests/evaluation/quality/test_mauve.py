"""MAUVE where its value is known."""

from __future__ import annotations

import numpy as np
import pytest

from textgen.evaluation.quality.mauve import Mauve, divergence_curve, mauve_of_histograms

ALL = np.arange(40)


def cloud(center: list[float], seed: int) -> np.ndarray:
    return np.array(center) + 0.01 * np.random.default_rng(seed).normal(size=(40, len(center)))


def test_equal_histograms_score_one() -> None:
    p = np.array([0.2, 0.3, 0.5])
    assert mauve_of_histograms(p, p) == pytest.approx(1.0)


def test_disjoint_histograms_by_hand() -> None:
    """Without common ground KL(p, r) is -log w: the curve is x = (1 - w)^5, y = w^5, and the area
    below it 5 B(6, 5) = 1 / 252."""
    p, q = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    x, y = divergence_curve(p, q).T
    assert x**0.2 + y**0.2 == pytest.approx(np.ones(len(x)), abs=1e-5)
    assert (np.diff(x) >= 0).all()
    assert mauve_of_histograms(p, q) == pytest.approx(1 / 252, rel=0.05)


def test_it_grows_with_what_is_shared() -> None:
    p = np.array([0.5, 0.5, 0.0])
    values = [mauve_of_histograms(p, np.array([0.5 - s, s, 0.5])) for s in (0.0, 0.25)]
    apart = mauve_of_histograms(p, np.array([0.0, 0.0, 1.0]))
    assert apart < values[0] < 1
    assert mauve_of_histograms(p, np.array([0.4, 0.6, 0.0])) > values[1]
    # It does not matter which of the two is the human one.
    q = np.array([0.1, 0.2, 0.7])
    assert mauve_of_histograms(p, q) == pytest.approx(mauve_of_histograms(q, p), rel=1e-6)


def test_the_same_set_scores_one_and_one_far_away_nearly_nothing() -> None:
    human, far = cloud([1.0, 0.0, 0.0], 0), cloud([0.0, 1.0, 0.0], 1)
    assert Mauve(human, human.copy(), seed=0)(ALL) == pytest.approx(1.0)
    assert Mauve(human, far, seed=0)(ALL) == pytest.approx(1 / 252, rel=0.05)
    # Half of the texts are alike: between the two.
    half = np.concatenate([cloud([1.0, 0.0, 0.0], 2)[:20], far[20:]])
    assert 0.05 < Mauve(human, half, seed=0)(ALL) < 0.95


def test_there_are_no_more_clusters_than_different_texts() -> None:
    human = np.tile([[1.0, 0.0]], (40, 1))
    model = np.tile([[0.0, 1.0]], (40, 1))
    found = Mauve(human, model, seed=0)
    assert found.num_clusters == 2
    assert found(ALL) == pytest.approx(1 / 252, rel=0.05)
    assert Mauve(human, human, seed=0)(ALL) == pytest.approx(1.0)
