"""The passes over the train texts in which a network learns to foretell words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import keras
import numpy as np
import numpy.typing as npt

from hvdcore.heartbeat import beat
from hvdcore.logs import get_logger
from hvdcore.progress import Progress
from hvdcore.schedule import learning_rate_at
from hvdcore.sharding import Indices, train_steps
from hvdcore.world import World
from news_cls.buckets import bucketed_order, padded_length
from news_cls.dropout import drop_words, kept, uniforms
from news_cls.language_model import LanguageBatch, LanguageModel, LanguageSums, sampling_shares

if TYPE_CHECKING:
    from news_cls.task import TextTask

__all__ = ["pretrain"]

logger = get_logger(__name__)

LEARNING_RATE = 3e-3
SAMPLE_SIZE = 384
WORD_DROPOUT, STATE_DROPOUT = 0.1, 0.2
_FIRST_EPOCH = 1 << 20
"""Epochs are numbered from here on, so that their random numbers are not those of training."""
_STREAM = 7


def pretrain(task: TextTask, network: keras.Model, world: World, stop: Callable[[], bool]) -> bool:
    """Teach the network the language of the train texts. Every rank must call.

    Returns:
        Whether it came to its end; not, when some rank was asked to stop.
    """
    ids = task.parts["train"].ids
    flat = np.concatenate([ids[i] for i in range(len(ids))])
    shares = sampling_shares(flat, task.data.vocab_size)
    model = LanguageModel(network, shares, SAMPLE_SIZE)
    batch, epochs = task.config.global_batch_size, task.config.num_pretrain_epochs
    total = epochs * -(-len(ids) // batch)
    cumulated, sums = np.cumsum(shares), []
    steps = train_steps(
        len(ids), global_batch_size=batch, seed=task.config.seed, rank=world.rank,
        size=world.size, tail="short", order=lambda epoch: _order(task, epoch),
    )  # fmt: skip
    with Progress(total * batch, "texts", world.is_root, description="pretrain") as bar:
        for number, step in zip(range(total), steps, strict=False):
            beat("compute" if number else "start", number)
            read = _read(task, step.epoch, step.indices, model.units, number, cumulated)
            sums.append(model.step(read, _learning_rate(number, total), stop()))
            if sums[-1].stop:
                return False
            bar.advance(step.num_samples)
            if step.ends_epoch:
                _tell(step.epoch + 1, epochs, sums, world)
                sums = []
    return True


def _order(task: TextTask, epoch: int) -> Indices:
    config = task.config
    lengths = task.lengths["train"]
    return bucketed_order(lengths, config.global_batch_size, config.seed, _FIRST_EPOCH + epoch)


def _read(
    task: TextTask,
    epoch: int,
    indices: Indices,
    units: int,
    number: int,
    cumulated: npt.NDArray[np.float64],
) -> LanguageBatch:
    lengths, most = task.lengths["train"][indices], task.data.max_length
    targets = task.parts["train"].ids.padded(indices, min(padded_length(lengths), most))
    draws = uniforms(task.config.seed, _FIRST_EPOCH + epoch, indices, most + 2 * units)
    ids = drop_words(targets, draws[:, :most], WORD_DROPOUT)
    mask = kept(draws[:, None, most:], STATE_DROPOUT)
    return LanguageBatch(ids, targets, mask, _sample(task.config.seed, number, cumulated))


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


def _tell(epoch: int, epochs: int, sums: list[LanguageSums], world: World) -> None:
    if world.is_root:
        nats = sum(s.loss for s in sums) / max(sum(s.num_words for s in sums), 1.0)
        logger.info("pretraining, epoch %d of %d: %.3f nats a word", epoch, epochs, nats)
