"""The default network of `news_cls`, but without character n-grams, on made-up ids: as many words
a text as AG News has, and as frequent (Zipf's law, which decides how many rows of the tables a step
touches). Made-up ids have no characters, and the figures that were measured before the n-grams stay
comparable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.classifier.keras import smooth_labels
from news_cls.config import ModelFields, TrainConfig
from news_cls.data.dataset import Names, Ragged, Split, TextData, Texts, offsets_of
from news_cls.data.labels import AG_NEWS
from news_cls.model.networks import LEARNING_RATES, build_network, num_features
from news_cls.training.task import TextTask

LENGTH = 48
"""Tokens of each text; AG News has 45 in the mean."""
RANKS = 2


def keras_lstm(embedded: Any, mask: Any, config: ModelFields) -> Any:
    """States of both directions by Keras's layers."""
    layer = keras.layers.LSTM(config.hidden_dim, return_sequences=True)
    return keras.layers.Bidirectional(layer)(embedded, mask=mask)


class NewsWork:
    """See `keras_work.Work`."""

    num_samples = 512

    def __init__(self) -> None:
        self.config = TrainConfig(subword_buckets=0)
        self.learning_rate = LEARNING_RATES[self.config.model]
        draw = np.random.default_rng(0)
        vocabulary = self.config.vocab_size
        ranks = vocabulary ** draw.random((self.num_samples, LENGTH))
        self.ids = np.clip(ranks.astype(np.int32) + 1, 2, vocabulary - 1)
        self.labels = draw.integers(0, len(AG_NEWS), self.num_samples)
        shape = (vocabulary, self.config.embed_dim)
        self.vectors = draw.normal(0, 0.1, shape).astype(np.float32)
        self.task = self._task()

    def _task(self) -> TextTask:
        rows = Ragged(self.ids.ravel(), offsets_of([LENGTH] * self.num_samples))
        nothing = Texts(Ragged(np.zeros(0, np.uint8), offsets_of([0] * self.num_samples)))
        names = Names(("made up",), np.zeros((self.num_samples, 2), np.int64))
        splits = {"train": Split(rows, self.labels, nothing, names)}
        words = ("",) * (self.config.vocab_size - 2)
        length = self.config.max_length
        data = TextData(Path("made up"), AG_NEWS, splits, {}, words, length)
        return TextTask(self.config, data, RANKS, self.vectors)

    def new_model(self) -> keras.Model:
        return build_network(self.config, self.vectors, len(AG_NEWS), 0)

    def peer_model(self) -> keras.Model:
        encoders = {"lstm": keras_lstm}
        return build_network(self.config, self.vectors, len(AG_NEWS), 0, encoders)

    def new_optimizer(self) -> keras.optimizers.Optimizer:
        return keras.optimizers.AdamW(self.learning_rate, weight_decay=0.0, beta_2=0.99)

    def loss(self, targets: Any, logits: Any) -> Any:
        """Each head is trained by itself: logits are [n, H, C]."""
        losses = -tf.reduce_sum(targets[:, None] * tf.nn.log_softmax(logits), axis=-1)
        return tf.reduce_mean(tf.reduce_sum(losses, axis=1))

    def batch(self, samples: npt.NDArray[np.int64]) -> tuple[tuple[Any, ...], Any]:
        """Without dropout, whose masks are inputs: they cost the model nothing."""
        masks = (
            np.ones((len(samples), 1, self.config.embed_dim), np.float32),
            np.ones((len(samples), num_features(self.config)), np.float32),
        )
        targets = smooth_labels(self.labels[samples], len(AG_NEWS), self.config.label_smoothing)
        return (self.ids[samples], *masks), targets

    def read(self, samples: npt.NDArray[np.int64]) -> Any:
        return self.task.get_batch(0, samples)
