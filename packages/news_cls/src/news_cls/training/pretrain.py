"""Language-model pretraining of the recurrent layers on the train texts.

The forward layer predicts the next word and the backward layer the previous one, with the word
vectors as the output layer (Press & Wolf 2017) and a sampled softmax (Jean et al. 2015), whose
sample of words is the same for a whole global batch. Only the train texts are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.classifier.keras import PretrainingCheckpoints, gather_flags
from hvdcore.keras import GradientReduction
from hvdcore.keras.adamw import RowwiseAdamW, Update
from hvdcore.metrics.schedule import learning_rate_at
from hvdcore.run.finite import check_finite
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices, Position, train_steps
from hvdcore.tracking.logs import get_logger
from hvdcore.tracking.progress import Progress
from news_cls.config import TrainConfig
from news_cls.data.dataset import Ragged, TextData
from news_cls.training.batches import (
    bucketed_order,
    drop_words,
    dropout_mask,
    padded_length,
    uniforms,
)

__all__ = [
    "LanguageBatch",
    "LanguageModel",
    "LanguageSums",
    "pretrain",
    "sampling_probabilities",
]

logger = get_logger(__name__)

LEARNING_RATE = 3e-3
SAMPLE_SIZE = 384
WORD_DROPOUT, STATE_DROPOUT = 0.1, 0.2
_EXPONENT = 0.75
"""Of the word counts, in the sample of the softmax (Mikolov et al. 2013)."""
_FIRST_EPOCH = 1 << 20
"""Epochs are numbered from here, so that their random numbers differ from those of training."""
_STREAM = 7
"""Separates the random numbers of the softmax's sample from others of the same seed."""


def pretrain(
    network: keras.Model,
    ids: Ragged,
    data: TextData,
    config: TrainConfig,
    world: World,
    checkpoints: PretrainingCheckpoints,
    stop: Callable[[], bool],
) -> bool:
    """Pretrain a network as a language model. Every rank must call.

    Args:
        network: with layers `words` and `recurrent`; their weights change.
        ids: token ids of the train texts.
        checkpoints: resumed from exactly; written at the ends of epochs, when asked to stop, and
            every `checkpoint_every` steps.
        stop: whether this rank was asked to stop.

    Returns:
        Whether pretraining was completed; False if some rank was asked to stop.
    """
    reader = _Reader(ids, data.max_length, config.seed, config.global_batch_size)
    probabilities = _probabilities(ids, data.vocab_size)
    model = LanguageModel(network, probabilities, SAMPLE_SIZE, config.gradient_dtype)
    variables = [*model.variables, *model.optimizer.variables]
    done = _Done.from_json(checkpoints.restore(variables))
    batch, every = config.global_batch_size, config.checkpoint_every
    total = config.num_pretrain_epochs * -(-len(ids) // batch)
    steps = train_steps(
        len(ids), global_batch_size=batch, seed=config.seed, rank=world.rank, size=world.size,
        start=done.position, tail="short", order=reader.order,
    )  # fmt: skip
    with Progress(total * batch, "texts", world.is_root, description="pretrain") as bar:
        bar.advance(done.steps * batch)
        for number, step in zip(range(done.steps, total), steps, strict=False):
            beat("compute" if number > done.steps else "start", number)
            samples = reader.get_batch(step.epoch, step.indices, number, model)
            sums = model.step(samples, _learning_rate(number, total), stop())
            check_finite(
                {"loss of the pretraining": sums.loss}, step=number + 1, is_finite_here=True,
                gather=gather_flags, hint="give --vectors ppmi, or --pretrain-epochs 0",
            )  # fmt: skip
            done = done.after(sums, step.position)
            bar.advance(step.num_samples)
            if step.ends_epoch:
                if world.is_root:
                    _log_epoch(step.epoch + 1, config.num_pretrain_epochs, done)
                done = replace(done, loss=0.0, num_words=0.0)
            if sums.stop or step.ends_epoch or (every and done.steps % every == 0):
                checkpoints.save(done.steps, variables, done.to_json())
            if sums.stop:
                return False
    return True


def _probabilities(ids: Ragged, vocab_size: int) -> npt.NDArray[np.float64]:
    flat = np.concatenate([ids[i] for i in range(len(ids))])
    return sampling_probabilities(flat, vocab_size)


def _learning_rate(number: int, total: int) -> float:
    return learning_rate_at(
        number, peak=LEARNING_RATE, warmup_steps=min(200, total // 20), total_steps=total,
        final_fraction=0.0, shape="cosine",
    )  # fmt: skip


def _log_epoch(epoch: int, num_epochs: int, done: _Done) -> None:
    loss = done.loss / max(done.num_words, 1.0)
    logger.info("pretraining, epoch %d of %d: loss %.3f nats per word", epoch, num_epochs, loss)


@dataclass(frozen=True)
class _Done:
    """Progress: updates, position in the texts, and of this epoch summed loss and words."""

    steps: int = 0
    position: Position = field(default_factory=Position)
    loss: float = 0.0
    num_words: float = 0.0

    @classmethod
    def from_json(cls, state: Mapping[str, Any] | None) -> _Done:
        if state is None:
            return cls()
        return cls(**{**state, "position": Position.from_json(state["position"])})

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "position": self.position.to_json()}

    def after(self, sums: LanguageSums, position: Position) -> _Done:
        words = self.num_words + sums.num_words
        return _Done(self.steps + 1, position, self.loss + sums.loss, words)


@dataclass(frozen=True)
class LanguageBatch:
    """The samples of one rank in one step.

    Attributes:
        ids: int32 [B, T], with word dropout applied.
        targets: int32 [B, T], the words themselves.
        mask: dropout mask of the states of both directions, float32 [B, 1, 2 H].
        sample: words of the softmax besides the target, int32 [K].
    """

    ids: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    mask: npt.NDArray[np.float32]
    sample: npt.NDArray[np.int32]


class _Reader:
    """Reads batches of the train texts; a text's dropout depends on (seed, epoch, text) alone."""

    def __init__(self, ids: Ragged, max_length: int, seed: int, global_batch_size: int) -> None:
        self.ids, self.lengths = ids, ids.lengths
        self.max_length, self.seed, self.batch = max_length, seed, global_batch_size

    def order(self, epoch: int) -> Indices:
        return bucketed_order(self.lengths, self.batch, self.seed, _FIRST_EPOCH + epoch)

    def get_batch(
        self, epoch: int, indices: Indices, number: int, model: LanguageModel
    ) -> LanguageBatch:
        most = self.max_length
        targets = self.ids.padded(indices, min(padded_length(self.lengths[indices]), most))
        draws = uniforms(self.seed, _FIRST_EPOCH + epoch, indices, most + 2 * model.units)
        ids = drop_words(targets, draws[:, :most], WORD_DROPOUT)
        mask = dropout_mask(draws[:, None, most:], STATE_DROPOUT)
        return LanguageBatch(ids, targets, mask, _sample(self.seed, number, model.cumulative))


def sampling_probabilities(ids: npt.NDArray[np.int32], vocab_size: int) -> npt.NDArray[np.float64]:
    """The probability of each id in the sample of the softmax, float64 [V]; 0 for padding.

    Args:
        ids: of all train texts.
    """
    counts = np.bincount(ids, minlength=vocab_size).astype(np.float64) + 1.0
    counts[0] = 0.0
    found: npt.NDArray[np.float64] = counts**_EXPONENT / (counts**_EXPONENT).sum()
    return found


def _sample(seed: int, number: int, cumulative: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """The softmax's sample of words for a step, the same on every rank, int32 [K]."""
    bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(_STREAM, number)))
    draws = (bits.random_raw(SAMPLE_SIZE) >> np.uint64(11)) / 2.0**53
    found = np.searchsorted(cumulative, draws, side="right")
    return np.minimum(found, len(cumulative) - 1).astype(np.int32)


@dataclass(frozen=True)
class LanguageSums:
    """Sums of one step over all ranks.

    Attributes:
        loss: in nats over the predicted words.
        num_words: number of predicted words.
        stop: whether any rank was asked to stop.
    """

    loss: float
    num_words: float
    stop: bool


class LanguageModel:
    """Trains the word vectors and the recurrent layer of a network.

    Every rank must make the same calls.

    Args:
        network: with layers `words` and `recurrent`; their weights change.
        probabilities: of each id in the sample of the softmax, [V].
        sample_size: K.
        wire_dtype: as `GradientReduction` takes it.
    """

    def __init__(
        self,
        network: keras.Model,
        probabilities: npt.NDArray[np.float64],
        sample_size: int,
        wire_dtype: str = "float32",
    ) -> None:
        self.layers = [network.get_layer(name) for name in ("words", "recurrent")]
        self.table = self.layers[0].embeddings
        units, (vocab_size, dim) = self.layers[1].units, self.table.shape
        names = ("next_word", "previous_word")
        self.projections = [keras.layers.Dense(dim, name=name) for name in names]
        for projection in self.projections:
            projection.build((None, units))
        self.biases = keras.Variable(np.zeros(vocab_size, dtype=np.float32), name="word_bias")
        self.cumulative = np.cumsum(probabilities)
        self.log_expected = tf.constant(np.log(probabilities * sample_size + 1e-20), tf.float32)
        self.units = units
        self.variables = [
            *(v for layer in self.layers for v in layer.trainable_variables),
            *(v for layer in self.projections for v in layer.trainable_variables),
            self.biases,
        ]
        self.optimizer = RowwiseAdamW(1e-3, weight_decay=0.0, beta_2=0.99)
        self.optimizer.build(self.variables)
        relaxed = {"autograph": False, "reduce_retracing": True}
        self._gradients = tf.function(self.compute, **relaxed)
        reduction = GradientReduction("sum", None, wire_dtype, overlap=False)
        self._reduce = tf.function(reduction, **relaxed)
        self._clip = tf.function(clipped_mean, **relaxed)
        self._update = Update(self.optimizer, self.variables)

    def step(self, batch: LanguageBatch, learning_rate: float, stop: bool) -> LanguageSums:
        """One update by the mean over the words that all ranks predict.

        Args:
            stop: whether this rank was asked to stop; the others learn of it in the gradients'
                collective.
        """
        *gradients, sums = self._gradients(batch.ids, batch.targets, batch.mask, batch.sample)
        sums = tf.concat([sums, [float(stop)]], axis=0)
        *gradients, total = self._reduce([*gradients, sums])
        loss, num_words, stops = total.numpy()
        self.optimizer.learning_rate = learning_rate
        self._update(self._clip(gradients, tf.constant(max(num_words, 1.0), tf.float32)))
        return LanguageSums(float(loss), float(num_words), bool(stops > 0))

    def compute(self, ids: Any, targets: Any, mask: Any, sample: Any) -> list[Any]:
        """The gradients of the summed loss, and as the last tensor the loss and its words.

        Args:
            ids, targets, mask, sample: see `LanguageBatch`.
        """
        with tf.GradientTape() as tape:
            words, recurrent = self.layers
            states = recurrent(words(ids), ids > 0)
            after, before = tf.split(states * tf.cast(mask, states.dtype), 2, -1)
            pairs = targets[:, 1:] > 0  # adjacent words, neither of them padding
            loss = 0.5 * (
                self._nll(self.projections[0](after[:, :-1]), targets[:, 1:], pairs, sample)
                + self._nll(self.projections[1](before[:, 1:]), targets[:, :-1], pairs, sample)
            )
        gradients = tape.gradient(loss, [v.value for v in self.variables])
        return [*gradients, tf.stack([loss, tf.reduce_sum(tf.cast(pairs, tf.float32))])]

    def _nll(self, states: Any, targets: Any, chosen: Any, sample: Any) -> Any:
        """Summed negative log-likelihood of the targets in the sampled softmax."""
        table, biases = self.table.value, self.biases.value
        # In float32 whatever the layers compute in: losses are.
        states = tf.boolean_mask(tf.cast(states, tf.float32), chosen)
        targets = tf.boolean_mask(targets, chosen)
        target_logits = tf.reduce_sum(states * tf.gather(table, targets), axis=-1)
        target_logits += tf.gather(biases - self.log_expected, targets)
        others = tf.matmul(states, tf.gather(table, sample), transpose_b=True)
        others += tf.gather(biases - self.log_expected, sample)
        others = tf.where(targets[:, None] == sample[None], -1e9, others)
        logits = tf.concat([target_logits[:, None], others], axis=1)
        return tf.reduce_sum(tf.reduce_logsumexp(logits, axis=1) - target_logits)


def clipped_mean(sums: Sequence[Any], num_words: Any) -> list[Any]:
    """The mean of gradients that were summed over words, clipped to a global norm of 1."""
    divisor = tf.maximum(num_words, tf.linalg.global_norm(sums))
    return [
        tf.IndexedSlices(g.values / divisor, g.indices, g.dense_shape)
        if isinstance(g, tf.IndexedSlices)
        else g / divisor
        for g in sums
    ]
