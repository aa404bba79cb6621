"""Batches of texts of like length, so that little is spent on padding.

The order of an epoch comes from the lengths, the global batch and (seed, epoch). The number of
ranks only decides how each global batch is cut, as in `hvdcore.sharding`.
"""

from __future__ import annotations

import numpy as np

from hvdcore.sharding import Indices, epoch_order, seeded_order

__all__ = ["bucketed_order", "padded_length", "padding_share"]

_STREAM = 3
"""Tells the order of the batches from the other orders of the same seed."""
CHUNK_BATCHES = 50
"""Global batches that are sorted by length together."""


def bucketed_order(
    lengths: Indices, global_batch_size: int, seed: int, epoch: int, chunk: int = CHUNK_BATCHES
) -> Indices:
    """The order in which an epoch visits its samples: each global batch of like lengths.

    Samples are shuffled, sorted by length within chunks of `chunk` global batches, and the batches
    are shuffled. Samples that fill no batch come last; they are drawn before the sorting, so that
    no length is left out more often than another where the tail is dropped.

    Args:
        lengths: tokens of each sample, int64 [n].
        chunk: more of them need less padding, and mix long and short texts less freely.

    Returns:
        int64 [n], a permutation of 0..n-1; global batch b is [b * batch, (b + 1) * batch).
    """
    shuffled = epoch_order(len(lengths), seed, epoch)
    num_full = len(lengths) // global_batch_size
    whole, tail = np.split(shuffled, [num_full * global_batch_size])
    step = chunk * global_batch_size
    chunks = (whole[start : start + step] for start in range(0, len(whole), step))
    by_length = [part[np.argsort(lengths[part], kind="stable")] for part in chunks]
    batches = np.concatenate([whole[:0], *by_length]).reshape(num_full, global_batch_size)
    batches = batches[seeded_order(num_full, seed, _STREAM, epoch)]
    tail = tail[np.argsort(lengths[tail], kind="stable")]
    return np.concatenate([batches.ravel(), tail])


def padded_length(lengths: Indices, multiple: int = 8) -> int:
    """Tokens that a batch is filled up to: its longest text, rounded up, and at least `multiple`.

    Args:
        lengths: of the samples of one batch.
        multiple: few different lengths mean few graphs to compile.
    """
    longest = int(np.max(lengths, initial=1))
    return -(-longest // multiple) * multiple


def padding_share(lengths: Indices, order: Indices, batch_size: int, multiple: int = 8) -> float:
    """Share of the positions of all batches that hold no token, 0 to 1."""
    tokens = positions = 0
    for start in range(0, len(order), batch_size):
        batch = lengths[order[start : start + batch_size]]
        tokens += int(batch.sum())
        positions += len(batch) * padded_length(batch, multiple)
    return 1.0 - tokens / positions if positions else 0.0
