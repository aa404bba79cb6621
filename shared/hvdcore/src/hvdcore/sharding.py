"""Which rank reads which sample, and when: pure functions on NumPy, for any framework.

The global order of an epoch follows from (seed, epoch) alone. The number of ranks only decides how
each global batch of that order is split, so runs of any size train on the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hvdcore.errors import Problems, UserError

__all__ = [
    "Indices",
    "Position",
    "Tail",
    "TrainStep",
    "check_shardable",
    "epoch_order",
    "eval_range",
    "num_steps",
    "seeded_order",
    "train_indices",
    "train_steps",
]

Indices = npt.NDArray[np.int64]

_MAX_REPEATED_BATCH = 1 << 16
"""A batch may repeat few samples as often as it likes up to this size, for tests and trials."""


def seeded_order(n: int, seed: int, *stream: int) -> Indices:
    """A permutation of 0..n-1 that depends on the numbers given and on nothing else.

    Samples are ordered by one 64-bit key each, the raw output of Philox-4x64-10 (Salmon et al.
    2011) seeded by `SeedSequence(seed, spawn_key=stream)`; equal keys keep their order. numpy
    promises these raw streams for good, but not those of `Generator.permutation` (NEP 19), so
    the order is the same on every numpy, platform and number of ranks. Takes 24 n bytes.

    Args:
        n: number of samples, 0 or more.
        seed: the run's seed, 0 or more.
        *stream: numbers, 0 or more, that tell this order from the others of the same seed.
    """
    keys = np.random.Philox(np.random.SeedSequence(seed, spawn_key=stream)).random_raw(n)
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)


def epoch_order(n: int, seed: int, epoch: int) -> Indices:
    """The order in which an epoch visits its samples, int64 [n]; see `seeded_order`."""
    return seeded_order(n, seed, 0, epoch)


Tail = Literal["wrap", "short"]
"""What fills the last global batch when the samples do not: the epoch's first samples again
(`wrap`: every batch is full) or nothing (`short`: each sample exactly once)."""


def num_steps(n: int, global_batch_size: int, drop_last: bool) -> int:
    """Steps in an epoch of n samples, the same on every rank.

    Args:
        drop_last: leave out the last `n % global_batch_size` samples of the epoch's order
            (others in each epoch) instead of taking one more step for them.
    """
    full_batches = n // global_batch_size
    return full_batches if drop_last else full_batches + (n % global_batch_size > 0)


def train_indices(
    order: Indices,
    step: int,
    global_batch_size: int,
    rank: int,
    size: int,
    *,
    tail: Tail = "wrap",
) -> Indices:
    """The samples of one rank in one global batch: a contiguous, equal part of it.

    Args:
        order: the epoch's order [n], from `epoch_order`.
        step: step within the epoch, below `num_steps`.
        global_batch_size: samples over all ranks; a multiple of `size`.
        rank, size: this rank and the number of ranks.
        tail: `wrap` fills the last batch up from the start of the order, so that every rank has
            the same count in every step; `short` cuts what is left as evenly as it goes, and a
            rank may have none: then sum gradients and divide by the global count.

    Returns:
        int64 [global_batch_size / size], or fewer in a `short` last batch.

    Raises:
        UserError: when the global batch cannot be divided evenly.
        IndexError: when the step is beyond the epoch.
    """
    n = len(order)
    if global_batch_size % size:
        raise UserError(_uneven_batch(global_batch_size, size))
    if not 0 <= step < num_steps(n, global_batch_size, drop_last=False):
        raise IndexError(f"step {step} is beyond an epoch of {n} samples")
    start = step * global_batch_size
    if tail == "short":
        part = eval_range(min(global_batch_size, n - start), rank, size)
        return order[start + part.start : start + part.stop]
    per_rank = global_batch_size // size
    first = start + rank * per_rank
    if first + per_rank <= n:
        return order[first : first + per_rank]
    return order[np.arange(first, first + per_rank) % n]


def eval_range(n: int, rank: int, size: int) -> range:
    """The contiguous part of 0..n-1 that a rank evaluates.

    Over all ranks each sample comes exactly once; shares differ by at most one sample, the longer
    ones first; with n < size the last ranks get an empty range.
    """
    base, extra = divmod(n, size)
    start = rank * base + min(rank, extra)
    return range(start, start + base + (rank < extra))


def check_shardable(
    n: int, global_batch_size: int, size: int, *, drop_last: bool = False, unit: str = "samples"
) -> None:
    """Check that n training samples can be cut for `size` ranks; call before training.

    Raises:
        UserError: with every reason why not: uneven batch, more ranks than samples, no full batch.
    """
    problems = Problems()
    if global_batch_size < 1:
        problems.add("global_batch_size", f"got {global_batch_size}; give 1 or more")
    elif global_batch_size % size:
        problems.extend(UserError(_uneven_batch(global_batch_size, size)))
    if n < size:
        problems.add(
            "np", f"{size} ranks but only {n} training {unit}; give fewer ranks or more data"
        )
    elif n and global_batch_size > max(n, _MAX_REPEATED_BATCH):
        problems.add(
            "global_batch_size",
            f"got {global_batch_size} with only {n} training {unit}, each of which a step would"
            f" repeat {global_batch_size // n} times; give {n // size * size or size} or less",
        )
    elif drop_last and 0 < n < global_batch_size:
        problems.add(
            "global_batch_size",
            f"got {global_batch_size} with only {n} training {unit} and the tail dropped, which"
            f" leaves no step; give {n} or less",
        )
    problems.raise_if_any()


def _uneven_batch(global_batch_size: int, size: int) -> str:
    lower = global_batch_size // size * size
    fix = f"{lower} or {lower + size}" if lower else f"{size}"
    return (
        f"global_batch_size: {global_batch_size} cannot be divided equally among {size} ranks;"
        f" give a multiple of {size}, such as {fix}"
    )


@dataclass(frozen=True)
class Position:
    """A position in the global order of samples. It holds nothing of rank or size, so a run may be
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
        start: the position to resume from, of a checkpoint, taken with the same n, batch and seed.
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
