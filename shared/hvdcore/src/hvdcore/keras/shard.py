"""`TrainShard`: this rank's samples of each global batch, for `fit`, from any step on."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import keras

from hvdcore.errors import UserError
from hvdcore.runtime.world import World
from hvdcore.sharding import (
    Indices,
    Position,
    check_shardable,
    epoch_order,
    num_steps,
    train_indices,
)

__all__ = ["TrainShard"]

_epoch_order = lru_cache(maxsize=2)(epoch_order)
"""The epoch under way, and the next one where reading runs ahead."""


class TrainShard(keras.utils.PyDataset):  # type: ignore[misc]
    """This rank's samples of each global batch, in a new order in each epoch.

    The order follows from the seed and the epoch alone, so every number of ranks trains on the same
    global batches. Give it to `fit` with `shuffle=False`, and with `initial_epoch` equal to `epoch`
    (`FitCheckpoints.initial_epoch`) after a resume.

    Args:
        num_samples: training samples in all.
        fetch: the samples of the given indices, int64 [per-rank batch], as `fit` takes a batch:
            (inputs, targets) or (inputs, targets, sample weights). Its second argument is the
            epoch. Whatever is random in it should follow from the seed, the epoch and the index of
            the sample: then a resume and another number of ranks change nothing.
        global_batch_size: samples of a step over all ranks; a multiple of the number of ranks.
        seed: of the order.
        world: what `hvdcore.keras.init` returned.
        drop_last: leave out the samples that fill no batch, others in each epoch. Otherwise the
            last batch is filled up with the first samples of the epoch.
        **reading: `workers`, `use_multiprocessing`, `max_queue_size` of `keras.utils.PyDataset`.

    Attributes:
        epoch: the epoch under way, or the next one to begin.
        first_step: the step of that epoch with which it begins here; above 0 after a resume.

    Raises:
        UserError: the samples cannot be divided among the ranks.
    """

    def __init__(
        self,
        num_samples: int,
        fetch: Callable[[Indices, int], Any],
        *,
        global_batch_size: int,
        seed: int,
        world: World,
        drop_last: bool = False,
        **reading: Any,
    ) -> None:
        super().__init__(**reading)
        check_shardable(num_samples, global_batch_size, world.size, drop_last=drop_last)
        self.num_samples, self.global_batch_size, self.seed = num_samples, global_batch_size, seed
        self.drop_last, self.world = drop_last, world
        self.epoch = self.first_step = 0
        self._fetch = fetch
        self._is_reading = False
        self._first_indices: list[int] | None = None

    @property
    def num_steps(self) -> int:
        """Steps of an epoch, the same on every rank."""
        return num_steps(self.num_samples, self.global_batch_size, self.drop_last)

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for a position in the data to mean the same."""
        return {
            "num_samples": self.num_samples,
            "global_batch_size": self.global_batch_size,
            "seed": self.seed,
            "drop_last": self.drop_last,
        }

    def start_at(self, position: Position) -> None:
        """Begin with the step after `position`. Before `fit`."""
        self.epoch, self.first_step = position.epoch, position.step

    def __len__(self) -> int:
        # Keras asks once, for all epochs; `FitCheckpoints` ends one that began in its middle.
        return self.num_steps

    def __getitem__(self, index: int) -> Any:
        """The batch of a step, counted from the one with which the epoch begins here."""
        if self._first_indices is not None and len(self._first_indices) < 2:
            self._first_indices.append(index)
        # Keras reads ahead, also beyond the end of an epoch that began in its middle.
        step = (self.first_step + index) % self.num_steps
        order = _epoch_order(self.num_samples, self.seed, self.epoch)
        world, batch = self.world, self.global_batch_size
        return self._fetch(train_indices(order, step, batch, world.rank, world.size), self.epoch)

    def on_epoch_begin(self) -> None:
        """Called by Keras."""
        self._is_reading = True
        if self._first_indices is None and self.workers <= 1:
            self._first_indices = []

    def on_epoch_end(self) -> None:
        """Called by Keras, also once before the first epoch."""
        if self._is_reading:
            self.epoch, self.first_step = self.epoch + 1, 0
        self._is_reading = False

    def check_order(self) -> None:
        """Make sure that Keras reads the batches in order.

        Raises:
            UserError: it shuffles them.
        """
        if self._first_indices and self._first_indices != [0, 1][: len(self._first_indices)]:
            raise UserError("shuffle: fit shuffles the batches of TrainShard; give shuffle=False")
