"""Owns how a global batch, or a data set to evaluate, is cut into the ranks' parts."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hvdcore.errors import Problems, UserError
from hvdcore.sharding.order import Indices

__all__ = [
    "Tail",
    "check_shardable",
    "eval_range",
    "num_steps",
    "tail_size",
    "train_indices",
]

Tail = Literal["wrap", "short"]
"""What fills the last global batch when the samples do not: the epoch's first samples again
(`wrap`: every batch is full) or nothing (`short`: each sample exactly once)."""


def num_steps(n: int, global_batch_size: int, drop_last: bool) -> int:
    """Steps in an epoch of n samples, the same on every rank.

    Args:
        drop_last: leave out the last `tail_size(n, global_batch_size)` samples of the epoch's
            order (others in each epoch) instead of taking one more step for them.
    """
    full_batches = n // global_batch_size
    return full_batches if drop_last else full_batches + (n % global_batch_size > 0)


def tail_size(n: int, global_batch_size: int) -> int:
    """Samples of an epoch that do not fill a global batch: those that `drop_last` drops."""
    return n % global_batch_size


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
        UserError: when the global batch cannot be cut in equal parts.
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

    Over all ranks each sample comes exactly once; parts differ by at most one sample, the longer
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
        f"global_batch_size: {global_batch_size} cannot be cut in equal parts for {size} ranks;"
        f" give a multiple of {size}, such as {fix}"
    )
