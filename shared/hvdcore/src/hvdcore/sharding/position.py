"""Owns the place in the training data: where a run stands, and the steps from there on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

from hvdcore.sharding.order import Indices, epoch_order
from hvdcore.sharding.shards import Tail, num_steps, train_indices

__all__ = ["Position", "TrainStep", "train_steps"]


@dataclass(frozen=True)
class Position:
    """A place in the global order of samples. It holds nothing of rank or size, so a run may be
    resumed from it on another number of ranks.

    Attributes:
        epoch: epochs finished.
        step: steps finished in the epoch under way.
        samples_seen: samples trained on since the start, over all ranks and epochs; those that
            a wrapped batch repeats count again.
    """

    epoch: int = 0
    step: int = 0
    samples_seen: int = 0

    def after_step(
        self, n: int, global_batch_size: int, *, drop_last: bool = False, tail: Tail = "wrap"
    ) -> Position:
        """The position after one more step over n samples; rolls over into the next epoch."""
        batch = global_batch_size
        if tail == "short":
            batch = min(batch, n - self.step * global_batch_size)
        last = self.step + 1 >= num_steps(n, global_batch_size, drop_last)
        return Position(
            epoch=self.epoch + 1 if last else self.epoch,
            step=0 if last else self.step + 1,
            samples_seen=self.samples_seen + batch,
        )

    def to_json(self) -> dict[str, int]:
        """For a checkpoint's meta.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, int]) -> Position:
        """The inverse of `to_json`."""
        return cls(int(value["epoch"]), int(value["step"]), int(value["samples_seen"]))


class TrainStep(NamedTuple):
    """One step of training as one rank sees it.

    Attributes:
        epoch: the epoch the step belongs to, from 0.
        indices: this rank's samples, int64.
        num_samples: samples of the global batch, over all ranks.
        position: where the run stands after the step; keep this in the checkpoint.
        ends_epoch: whether the step is the epoch's last.
    """

    epoch: int
    indices: Indices
    num_samples: int
    position: Position
    ends_epoch: bool


def train_steps(
    n: int,
    *,
    global_batch_size: int,
    seed: int,
    rank: int = 0,
    size: int = 1,
    start: Position | None = None,
    drop_last: bool = False,
    tail: Tail = "wrap",
    order: Callable[[int], Indices] | None = None,
) -> Iterator[TrainStep]:
    """Yield the steps of training from a position on, epoch after epoch without end.

    Every rank of a run gets the same number of steps; the caller stops (`--epochs`,
    `--max-steps`). Iterating costs one sort of n keys an epoch.

    Args:
        n: training samples (or packed token blocks) in all.
        global_batch_size: samples a step over all ranks; a multiple of `size`.
        seed: the run's seed.
        start: where to go on, from a checkpoint, taken with the same n, batch and seed.
        drop_last, tail: what becomes of samples that fill no batch; see `hvdcore.sharding`.
        order: an epoch's order, int64 [n], in place of `epoch_order`; the same on every rank.

    Raises:
        ValueError: when an epoch has no step, or the position lies beyond the epoch.
    """
    at = start or Position()
    steps = num_steps(n, global_batch_size, drop_last)
    if at.step >= steps:
        raise ValueError(f"step {at.step} of epoch {at.epoch} is beyond its {steps} steps")
    while True:
        epoch = at.epoch
        visited = epoch_order(n, seed, epoch) if order is None else order(epoch)
        assert len(visited) == n, f"an order of {len(visited)} for {n} samples"
        while at.epoch == epoch:
            part = train_indices(visited, at.step, global_batch_size, rank, size, tail=tail)
            after = at.after_step(n, global_batch_size, drop_last=drop_last, tail=tail)
            num_samples = after.samples_seen - at.samples_seen
            yield TrainStep(epoch, part, num_samples, after, after.epoch != epoch)
            at = after
