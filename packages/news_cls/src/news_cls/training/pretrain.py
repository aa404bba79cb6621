"""The passes over the train texts in which a network learns to foretell words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt

from hvdcore.classifier.keras import Pretraining
from hvdcore.metrics.schedule import learning_rate_at
from hvdcore.runtime.heartbeat import beat
from hvdcore.runtime.world import World
from hvdcore.sharding import Indices, Position, train_steps
from hvdcore.tracking.logs import get_logger
from hvdcore.tracking.progress import Progress
from news_cls.training.batches import bucketed_order, padded_length
from news_cls.training.dropout import drop_words, kept, uniforms
from news_cls.training.language_model import (
    LanguageBatch,
    LanguageModel,
    LanguageSums,
    sampling_shares,
)

if TYPE_CHECKING:
    from news_cls.training.task import TextTask

__all__ = ["pretrain"]

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
