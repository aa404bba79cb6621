"""The passes over the train texts in which a network learns to foretell words.

Learning a language before the classes: the recurrent layers foretell words on the train texts.

The forward layer foretells the next word and the backward layer the previous one, with the word
vectors themselves as the output layer (Press & Wolf 2017) and a softmax over a sample of words
(Jean et al. 2015), the same sample for a whole global batch. Nothing but the train texts is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hvdcore.classifier.keras import Pretraining
from hvdcore.keras import GradientReduction
from hvdcore.keras.adamw import RowwiseAdamW, Update
from hvdcore.metrics.schedule import learning_rate_at
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices, Position, train_steps
from hvdcore.tracking.logs import get_logger
from hvdcore.tracking.progress import Progress
from news_cls.training.batches import bucketed_order, drop_words, kept, padded_length, uniforms

if TYPE_CHECKING:
    from news_cls.training.task import TextTask

__all__ = [
    "LanguageBatch",
    "LanguageModel",
    "LanguageSums",
    "pretrain",
    "sampling_shares",
]

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


logger = get_logger(__name__)

LEARNING_RATE = 3e-3
SAMPLE_SIZE = 384
WORD_DROPOUT, STATE_DROPOUT = 0.1, 0.2
_FIRST_EPOCH = 1 << 20
"""Epochs are numbered from here on, so that their random numbers are not those of training."""
_STREAM = 7


def pretrain(
    task: TextTask, network: keras.Model, world: World, kept: Pretraining, stop: Callable[[], bool]
) -> bool:
    """Teach the network the language of the train texts. Every rank must call.

    Args:
        kept: where it goes on from, to the bit. Kept are the ends of epochs and a stop, and every
            `checkpoint_every` steps.

    Returns:
        Whether it came to its end; not, when some rank was asked to stop.
    """
    model = _language_model(task, network)
    variables = [*model.variables, *model.optimizer.variables]
    done = _Done.of(kept.restore(variables))
    batch, num_texts = task.config.global_batch_size, len(task.parts["train"])
    total = task.config.num_pretrain_epochs * -(-num_texts // batch)
    every = task.config.checkpoint_every
    steps = train_steps(
        num_texts, global_batch_size=batch, seed=task.config.seed, rank=world.rank,
        size=world.size, start=done.position, tail="short", order=lambda epoch: _order(task, epoch),
    )  # fmt: skip
    with Progress(total * batch, "texts", world.is_root, description="pretrain") as bar:
        bar.advance(done.steps * batch)
        for number, step in zip(range(done.steps, total), steps, strict=False):
            beat("compute" if number > done.steps else "start", number)
            read = _read(task, step.epoch, step.indices, model, number)
            sums = model.step(read, _learning_rate(number, total), stop())
            done = done.and_then(sums, step.position)
            bar.advance(step.num_samples)
            if step.ends_epoch:
                _tell(step.epoch + 1, task, done, world)
                done = replace(done, loss=0.0, num_words=0.0)
            if sums.stop or step.ends_epoch or (every and done.steps % every == 0):
                kept.keep(done.steps, variables, done.to_json())
            if sums.stop:
                return False
    return True


@dataclass(frozen=True)
class _Done:
    """How far it is: updates, the place in the texts, and of this epoch nats and words."""

    steps: int = 0
    position: Position = field(default_factory=Position)
    loss: float = 0.0
    num_words: float = 0.0

    @classmethod
    def of(cls, state: Mapping[str, Any] | None) -> _Done:
        if state is None:
            return cls()
        return cls(**{**state, "position": Position.from_json(state["position"])})

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "position": self.position.to_json()}

    def and_then(self, sums: LanguageSums, position: Position) -> _Done:
        words = self.num_words + sums.num_words
        return _Done(self.steps + 1, position, self.loss + sums.loss, words)


def _language_model(task: TextTask, network: keras.Model) -> LanguageModel:
    ids = task.parts["train"].ids
    flat = np.concatenate([ids[i] for i in range(len(ids))])
    return LanguageModel(network, sampling_shares(flat, task.data.vocab_size), SAMPLE_SIZE)


def _order(task: TextTask, epoch: int) -> Indices:
    config = task.config
    lengths = task.lengths["train"]
    return bucketed_order(lengths, config.global_batch_size, config.seed, _FIRST_EPOCH + epoch)


def _read(
    task: TextTask, epoch: int, indices: Indices, model: LanguageModel, number: int
) -> LanguageBatch:
    lengths, most = task.lengths["train"][indices], task.data.max_length
    targets = task.parts["train"].ids.padded(indices, min(padded_length(lengths), most))
    draws = uniforms(task.config.seed, _FIRST_EPOCH + epoch, indices, most + 2 * model.units)
    ids = drop_words(targets, draws[:, :most], WORD_DROPOUT)
    mask = kept(draws[:, None, most:], STATE_DROPOUT)
    return LanguageBatch(ids, targets, mask, _sample(task.config.seed, number, model.cumulated))


def _sample(seed: int, number: int, cumulated: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Words of the softmax of a step, the same on every rank, int32 [K]."""
    bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(_STREAM, number)))
    draws = (bits.random_raw(SAMPLE_SIZE) >> np.uint64(11)) / 2.0**53
    found = np.searchsorted(cumulated, draws, side="right")
    return np.minimum(found, len(cumulated) - 1).astype(np.int32)


def _learning_rate(number: int, total: int) -> float:
    return learning_rate_at(
        number, peak=LEARNING_RATE, warmup_steps=min(200, total // 20), total_steps=total,
        final_fraction=0.0, shape="cosine",
    )  # fmt: skip


def _tell(epoch: int, task: TextTask, done: _Done, world: World) -> None:
    if world.is_root:
        nats, of = done.loss / max(done.num_words, 1.0), task.config.num_pretrain_epochs
        logger.info("pretraining, epoch %d of %d: %.3f nats a word", epoch, of, nats)
