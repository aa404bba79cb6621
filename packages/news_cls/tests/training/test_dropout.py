"""What is left out of a text: a function of seed, epoch and sample alone."""

from __future__ import annotations

import numpy as np
import pytest

from news_cls.training.batches import drop_words, dropout_mask, uniforms

SAMPLES = np.arange(40)


def test_a_sample_has_its_own_numbers_whatever_the_batch() -> None:
    together = uniforms(3, 1, SAMPLES, 10)
    alone = uniforms(3, 1, np.array([7]), 10)
    assert (together[7] == alone[0]).all()
    assert (uniforms(3, 1, SAMPLES, 6) == together[:, :6]).all()
    for other in (uniforms(4, 1, SAMPLES, 10), uniforms(3, 2, SAMPLES, 10)):
        assert (other != together).any(axis=1).all()
    assert len({row.tobytes() for row in together}) == len(SAMPLES)


def test_numbers_are_uniform() -> None:
    found = uniforms(0, 0, np.arange(2000), 50)
    assert found.min() >= 0.0
    assert found.max() < 1.0
    counts, _ = np.histogram(found, bins=10, range=(0, 1))
    assert counts == pytest.approx(np.full(10, 10_000), abs=500)  # five standard deviations


def test_masks_by_hand() -> None:
    draws = np.array([[0.0, 0.19, 0.2, 0.9]], dtype=np.float32)
    assert dropout_mask(draws, 0.2)[0] == pytest.approx([0.0, 0.0, 1.25, 1.25])
    assert dropout_mask(draws, 0.0).tolist() == [[1.0, 1.0, 1.0, 1.0]]
    ids = np.array([[5, 6, 7, 0]], dtype=np.int32)
    assert drop_words(ids, draws, 0.2).tolist() == [[1, 1, 7, 0]]
    assert drop_words(ids, np.zeros((1, 9), np.float32), 0.5).tolist() == [[1, 1, 1, 0]]
