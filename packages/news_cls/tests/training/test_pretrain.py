"""Language-model pretraining: the sampled softmax by hand, and gradients that add up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from hvdcore.keras import GradientReduction, init
from news_cls.config import TrainConfig
from news_cls.model.embeddings import random_vectors
from news_cls.model.networks import build_network
from news_cls.training.pretrain import (
    LanguageBatch,
    LanguageModel,
    clipped_mean,
    sampling_probabilities,
)

IDS = np.array([[2, 3, 4, 0], [5, 2, 0, 0], [3, 0, 0, 0]], dtype=np.int32)


def model(vocab_size: int = 8) -> LanguageModel:
    init()
    config = TrainConfig(model="gru", hidden_dim=3, ngram_buckets=0)
    network = build_network(config, random_vectors(vocab_size, 4, 0), 2, 0)
    shares = sampling_probabilities(IDS[IDS > 0], vocab_size)
    return LanguageModel(network, shares, sample_size=5)


def arrays(of: LanguageBatch) -> tuple[np.ndarray, ...]:
    return of.ids, of.targets, of.mask, of.sample


def batch(rows: slice = slice(0, 3)) -> LanguageBatch:
    mask = np.ones((len(IDS[rows]), 1, 6), dtype=np.float32)
    return LanguageBatch(IDS[rows], IDS[rows], mask, np.array([2, 3, 4, 6, 7], dtype=np.int32))


def test_sampling_probabilities_by_hand() -> None:
    found = sampling_probabilities(np.array([2, 2, 2, 3], dtype=np.int32), 4)
    powers = np.array([0.0, 1.0, 4.0, 2.0]) ** 0.75
    assert found == pytest.approx(powers / powers.sum())


def test_the_loss_of_a_blank_model_by_hand() -> None:
    """With zero vectors a word's logit is its bias less the log of its expected count."""
    language_model = model()
    language_model.table.assign(np.zeros((8, 4), dtype=np.float32))
    *_, sums = language_model.compute(*arrays(batch()))
    expected = np.exp(-language_model.log_expected.numpy().astype(float))
    sample, nats = [2, 3, 4, 6, 7], 0.0
    # Adjacent words: 2 3, 3 4 and 5 2; each is predicted from the other.
    for left, right in ((2, 3), (3, 4), (5, 2)):
        for word in (left, right):
            others = sum(expected[other] for other in sample if other != word)
            nats += 0.5 * math.log((expected[word] + others) / expected[word])
    assert sums.numpy() == pytest.approx([nats, 3.0], rel=1e-5)


def test_gradients_of_a_batch_are_the_sum_of_its_shards() -> None:
    language_model, reduce = model(), GradientReduction("sum", None)
    whole, first, second = (
        reduce(language_model.compute(*arrays(batch(rows))))
        for rows in (slice(0, 3), slice(0, 2), slice(2, 3))
    )
    for full, one, other in zip(whole, first, second, strict=True):
        total = tf.convert_to_tensor(one) + tf.convert_to_tensor(other)
        assert total.numpy() == pytest.approx(tf.convert_to_tensor(full).numpy(), abs=1e-5)


def test_it_learns() -> None:
    language_model = model()
    sums = [language_model.step(batch(), 0.05, stop=False) for _ in range(30)]
    assert sums[0].num_words == 3
    assert sums[-1].loss < 0.5 * sums[0].loss
    assert not sums[-1].stop
    assert language_model.step(batch(), 0.05, stop=True).stop


def test_theclipped_mean_by_hand() -> None:
    """The mean of (6, 8) over 4 words is (1.5, 2), whose norm is 2.5; over 20 it is below 1."""
    rows = tf.IndexedSlices(tf.constant([[6.0]]), tf.constant([1]), tf.constant([3, 1]))
    for num_words, expected in ((4.0, (0.6, 0.8)), (20.0, (0.3, 0.4))):
        table, whole = clipped_mean([rows, tf.constant([8.0])], tf.constant(num_words))
        found = (table.values.numpy().item(), whole.numpy().item())
        assert found == pytest.approx(expected)
        assert table.indices.numpy().tolist() == [1]
