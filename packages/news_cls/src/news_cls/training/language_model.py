"""Learning a language before the classes: the recurrent layers foretell words on the train texts.

The forward layer foretells the next word and the backward layer the previous one, with the word
vectors themselves as the output layer (Press & Wolf 2017) and a softmax over a sample of words
(Jean et al. 2015), the same sample for a whole global batch. Nothing but the train texts is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.keras import GradientReduction
from hvdcore.keras.adamw import RowwiseAdamW, Update

__all__ = ["LanguageBatch", "LanguageModel", "LanguageSums", "sampling_shares"]

_POWER = 0.75
"""Of the counts of words, in the sample of the softmax (Mikolov et al. 2013)."""


@dataclass(frozen=True)
class LanguageBatch:
    """What a rank computes in one step.

    Attributes:
        ids: int32 [B, T], some words made unknown.
        targets: int32 [B, T], the words themselves.
        mask: of the states of both directions, float32 [B, 1, 2 H].
        sample: words of the softmax beside the right one, int32 [K].
    """

    ids: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    mask: npt.NDArray[np.float32]
    sample: npt.NDArray[np.int32]


@dataclass(frozen=True)
class LanguageSums:
    """Of one step, over all ranks: nats over foretold words, their number, wishes to stop."""

    loss: float
    num_words: float
    stop: bool


def sampling_shares(ids: npt.NDArray[np.int32], vocab_size: int) -> npt.NDArray[np.float64]:
    """The probability of each id in the sample of the softmax, float64 [V]; 0 for padding.

    Args:
        ids: of all train texts.
    """
    counts = np.bincount(ids, minlength=vocab_size).astype(np.float64) + 1.0
    counts[0] = 0.0
    shares: npt.NDArray[np.float64] = counts**_POWER / (counts**_POWER).sum()
    return shares


class LanguageModel:
    """Trains the word vectors and the recurrent layers of a network. Every rank must make the same
    calls.

    Args:
        network: with layers `words` and `recurrent`; its weights change.
        shares: probability of each id in the sample, [V].
        sample_size: K.
    """

    def __init__(
        self, network: keras.Model, shares: npt.NDArray[np.float64], sample_size: int
    ) -> None:
        self.layers = [network.get_layer(name) for name in ("words", "recurrent")]
        self.table = self.layers[0].embeddings
        units, (vocab_size, dim) = self.layers[1].units, self.table.shape
        self.projections = [keras.layers.Dense(dim, name=f"foretell_{i}") for i in range(2)]
        for projection in self.projections:
            projection.build((None, units))
        self.biases = keras.Variable(np.zeros(vocab_size, dtype=np.float32), name="foretell_bias")
        self.cumulated = np.cumsum(shares)
        self.expected = tf.constant(np.log(shares * sample_size + 1e-20), tf.float32)
        self.units = units
        self.variables = [
            *(v for layer in self.layers for v in layer.trainable_variables),
            *(v for layer in self.projections for v in layer.trainable_variables),
            self.biases,
        ]
        self.optimizer = RowwiseAdamW(1e-3, weight_decay=0.0, beta_2=0.99)
        self.optimizer.build(self.variables)
        self._reduction = GradientReduction("sum", None)
        relaxed = {"autograph": False, "reduce_retracing": True}
        self._gradients = tf.function(self._compute, **relaxed)
        self._reduce = tf.function(self._reduction, **relaxed)
        self._clip = tf.function(_clipped_mean, **relaxed)
        self._update = Update(self.optimizer, self.variables)

    def step(self, batch: LanguageBatch, learning_rate: float, stop: bool) -> LanguageSums:
        """One update by the mean over all words that all ranks foretell.

        Args:
            stop: this rank wishes to stop; the others learn it in the gradients' collective.
        """
        *gradients, sums = self._gradients(batch.ids, batch.targets, batch.mask, batch.sample)
        told = tf.concat([sums, [float(stop)]], axis=0)
        *gradients, total = self._reduce([*gradients, told])
        loss, num_words, wishes = total.numpy()
        self.optimizer.learning_rate = learning_rate
        self._update(self._clip(gradients, tf.constant(max(num_words, 1.0), tf.float32)))
        return LanguageSums(float(loss), float(num_words), bool(wishes > 0))

    def _compute(self, ids: Any, targets: Any, mask: Any, sample: Any) -> list[Any]:
        is_word = ids > 0
        with tf.GradientTape() as tape:
            words, recurrent = self.layers
            states = recurrent(words(ids), is_word)
            after, before = tf.split(states * tf.cast(mask, states.dtype), 2, -1)
            both = targets[:, 1:] > 0  # neighbours that are words
            loss = 0.5 * (
                self._nats(self.projections[0](after[:, :-1]), targets[:, 1:], both, sample)
                + self._nats(self.projections[1](before[:, 1:]), targets[:, :-1], both, sample)
            )
        gradients = tape.gradient(loss, [v.value for v in self.variables])
        return [*gradients, tf.stack([loss, tf.reduce_sum(tf.cast(both, tf.float32))])]

    def _nats(self, states: Any, targets: Any, wanted: Any, sample: Any) -> Any:
        """Summed negative log-likelihood of the words, among themselves and the sample."""
        table, biases = self.table.value, self.biases.value
        # In float32 whatever the layers compute in: losses are.
        states = tf.boolean_mask(tf.cast(states, tf.float32), wanted)
        targets = tf.boolean_mask(targets, wanted)
        right = tf.reduce_sum(states * tf.gather(table, targets), axis=-1)
        right += tf.gather(biases - self.expected, targets)
        others = tf.matmul(states, tf.gather(table, sample), transpose_b=True)
        others += tf.gather(biases - self.expected, sample)
        others = tf.where(targets[:, None] == sample[None], -1e9, others)
        every = tf.concat([right[:, None], others], axis=1)
        return tf.reduce_sum(tf.reduce_logsumexp(every, axis=1) - right)


def _clipped_mean(sums: Sequence[Any], num_words: Any) -> list[Any]:
    """Of gradients summed over words the mean, its global norm at most 1."""
    divisor = tf.maximum(num_words, tf.linalg.global_norm(sums))
    return [
        tf.IndexedSlices(g.values / divisor, g.indices, g.dense_shape)
        if isinstance(g, tf.IndexedSlices)
        else g / divisor
        for g in sums
    ]
