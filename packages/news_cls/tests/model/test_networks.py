"""The networks: no text depends on the others in its batch, or on the padding."""

from __future__ import annotations

import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvdcore.classifier.keras import Batch, load_model, save_model
from hvdcore.classifier.keras.state import Steps, head_logits
from hvdcore.keras import init
from news_cls.config import TrainConfig
from news_cls.model.embeddings import random_vectors
from news_cls.model.networks import (
    HashedNgrams,
    LinearOfNgrams,
    PoolOverTime,
    build_network,
    num_features,
    serving_model,
)
from news_cls.model.subwords import subword_table
from news_cls.model.vectorizer import Vectorizer

MODELS = ("lstm", "gru", "cnn")
WORDS = ("a", "bank", "bonds", "club", "game", "games", "net", "web", "win", "wins")
IDS = np.random.default_rng(0).integers(2, 12, (4, 7)).astype(np.int32)
IDS[1, 3:] = 0
IDS[2, 1:] = 0


def config(model: str, **fields: object) -> TrainConfig:
    values = {"model": model, "hidden_dim": 5, "conv_dim": 4, "ngram_buckets": 32,
              "subword_buckets": 64, **fields}  # fmt: skip
    return TrainConfig.model_validate(values)


def network(model: str, seed: int = 0, **fields: object) -> keras.Model:
    vectors = random_vectors(len(WORDS) + 2, 6, 0)
    return build_network(config(model, **fields), vectors, 3, seed, words=WORDS)


def inputs(model: str, ids: np.ndarray = IDS) -> tuple[np.ndarray, ...]:
    masks = np.ones((len(ids), 1, 6), np.float32), np.ones((len(ids), num_features(config(model))))
    return ids, masks[0], masks[1].astype(np.float32)


@pytest.mark.parametrize("model", MODELS)
def test_padding_and_neighbors_change_nothing(model: str) -> None:
    of = network(model)
    together = head_logits(of, inputs(model), training=True).numpy()
    assert together.shape == (4, 2 if model == "cnn" else 3, 3)
    wider = np.pad(IDS, [(0, 0), (0, 9)])
    assert head_logits(of, inputs(model, wider), training=True).numpy() == pytest.approx(
        together, abs=1e-5
    )
    for i in range(4):
        alone = IDS[i : i + 1, : max(1, int((IDS[i] > 0).sum()))]
        found = head_logits(of, inputs(model, alone), training=True).numpy()
        assert found[0] == pytest.approx(together[i], abs=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_gradients_of_a_batch_are_the_sum_of_its_shards(model: str) -> None:
    """What makes N ranks equal to one, padding rows included."""
    init()
    of = network(model)
    steps = Steps(of, of, keras.optimizers.SGD(1.0), ema_decay=0.0, xla=False)
    targets = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]

    def gradients(rows: slice, fill: int) -> list[np.ndarray]:
        batch = Batch.padded(tuple(x[rows] for x in inputs(model)), targets[rows], fill)
        totals, _ = steps.reduce(steps.gradients(batch, 4, stop=False))
        return [tf.convert_to_tensor(g).numpy() for g in totals]

    whole, first, second = (
        gradients(slice(*rows), fill) for *rows, fill in ((0, 4, 4), (0, 3, 3), (3, 4, 3))
    )
    for full, one, other in zip(whole, first, second, strict=True):
        assert one + other == pytest.approx(full, abs=1e-5)


def test_heads_are_trained_independently() -> None:
    """The gradients of the linear head do not depend on the network beside it."""
    init()
    totals = []
    for seed in (0, 1):
        of = network("cnn", seed)
        steps = Steps(of, of, keras.optimizers.SGD(1.0), ema_decay=0.0, xla=False)
        targets = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
        batch = Batch.padded(inputs("cnn"), targets, 4)
        gradients, _ = steps.reduce(steps.gradients(batch, 4, stop=False))
        names = [v.path for v in of.trainable_variables]
        table = gradients[next(i for i, n in enumerate(names) if "table" in n)]
        totals.append(tf.convert_to_tensor(table).numpy())
    assert totals[0] == pytest.approx(totals[1], abs=1e-6)
    assert np.abs(totals[0]).max() > 0


@pytest.mark.parametrize("model", MODELS)
def test_the_seed_decides_the_weights(model: str) -> None:
    first, again, other = (network(model, seed).get_weights() for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_the_linear_model_adds_up_words_and_subwords() -> None:
    """`win` and `wins` share n-grams, and nothing else that this model has learned."""
    of, (ids, *masks) = network("cnn"), inputs("cnn")
    table = subword_table(WORDS, 64)
    shared = set(table[10]) & set(table[11]) - {0}
    (subwords,) = (v for v in of.trainable_variables if "subwords" in v.path)
    weights = np.zeros(subwords.shape, dtype=np.float32)
    weights[list(shared), 1] = 1.0
    subwords.assign(weights)
    ids = np.array([[10], [11], [7], [0]], dtype=np.int32)
    linear = head_logits(of, (ids, *masks), training=False).numpy()[:, 1]
    expected = [
        16.0 * np.isin(table[word], list(shared)).sum() / math.sqrt(1 + (table[word] > 0).sum())
        for word in (10, 11, 7, 0)
    ]
    assert linear[:, 1] == pytest.approx(expected)
    assert expected[0] > 0 < expected[1]
    assert (linear[:, [0, 2]] == 0.0).all()


def test_the_linear_model_can_do_without_subwords() -> None:
    layers = {layer.name for layer in network("cnn", subword_buckets=0).layers}
    assert "linear" in layers
    assert not any("subwords" in name for name in layers)


def test_the_other_heads_can_be_left_out() -> None:
    alone = network("gru", ngram_buckets=0, conv_dim=0)
    masks = np.ones((4, 1, 6), np.float32), np.ones((4, 3 * 2 * 5), np.float32)
    assert head_logits(alone, (IDS, *masks), training=False).shape == (4, 1, 3)


def test_each_encoder_has_its_own_range_of_the_mask() -> None:
    """A mask that drops the recurrent layer's features does not change the other heads."""
    of, (ids, embed_mask, feature_mask) = network("gru"), inputs("gru")
    dropped = feature_mask.copy()
    dropped[:, : 3 * 2 * 5] = 0.0
    before = head_logits(of, (ids, embed_mask, feature_mask), training=True).numpy()
    after = head_logits(of, (ids, embed_mask, dropped), training=True).numpy()
    assert (after[:, 0] == 0.0).all()  # its bias, which starts at zero
    assert (after[:, 1:] == before[:, 1:]).all()


@pytest.mark.parametrize("model", MODELS)
def test_a_saved_model_takes_raw_strings(tmp_path: Path, model: str) -> None:
    of = network(model)
    served = serving_model(of, Vectorizer(WORDS, 7))
    save_model(tmp_path, served, ("x", "y", "z"), {})
    loaded = load_model(tmp_path)
    texts = np.array([" ".join(WORDS[i - 2] for i in row if i) for row in IDS], dtype=object)
    expected = head_logits(of, inputs(model), training=False).numpy().mean(axis=1)
    assert loaded(texts).numpy() == pytest.approx(expected, abs=1e-5)


def test_pooling_by_hand() -> None:
    states = np.array([[[1.0, -2.0], [3.0, -4.0], [9.0, 9.0]]], dtype=np.float32)
    found = PoolOverTime()(states, np.array([[True, True, False]])).numpy()
    assert found[0] == pytest.approx([3.0, -2.0, 2.0, -3.0, 2.0, -3.0], abs=1e-4)


def test_ngrams_depend_on_order_and_not_on_padding() -> None:
    layer = HashedNgrams(2**16)
    found = layer(np.array([[5, 6, 0], [6, 5, 0]], dtype=np.int32)).numpy()
    assert (found[:, [2, 4, 5, 8]] == 0).all()  # padding, and pairs with it
    assert sorted(found[0, :2]) == sorted(found[1, :2])  # the same words
    assert found[0, 3] != found[1, 3]  # another pair
    assert ((found > 0).sum(axis=1) == 5).all()  # 2 words, 1 pair, 2 words of the beginning
    assert found.max() < 2**16


def test_the_linear_head_by_hand() -> None:
    layer = LinearOfNgrams(4, 2, scale=10.0)
    layer.build((None, None))
    layer.table.assign([[9.0, 9.0], [1.0, 0.0], [0.0, 2.0], [5.0, 5.0]])
    found = layer(np.array([[1, 2, 2, 0]])).numpy()
    assert found[0] == pytest.approx([10 * 1 / 2, 10 * 4 / 2])  # over the root of 1 + 3


@pytest.mark.parametrize("most", [1, 10])
def test_a_length_that_is_no_multiple_of_eight(tmp_path: Path, most: int) -> None:
    """Masks are drawn for the words that are kept, and batches are not longer."""
    from hvdcore.classifier.keras import PretrainingCheckpoints
    from hvdcore.run.run_dir import RunDir
    from news_cls.data.prepare import prepare
    from news_cls.training.task import TextTask

    world = init()
    settings = config("gru", max_length=most, num_train_texts=24, global_batch_size=12,
                      pretrain_epochs=1, vocab_size=50)  # fmt: skip
    data = prepare(settings)
    task = TextTask(settings, data, 1, random_vectors(data.vocab_size, 6, 0))
    batch = task.get_batch(0, np.arange(12))
    assert batch.inputs[0].shape == (12, most)
    checkpoints = PretrainingCheckpoints(RunDir(tmp_path), task.run_fingerprint(), world)
    assert task.pretrain(task.build_model(), world, checkpoints, lambda: False)


@pytest.mark.parametrize("name", ["ngram_buckets", "subword_buckets"])
def test_one_bucket_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: got 1"):
        config("gru", **{name: 1})
