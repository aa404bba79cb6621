"""Batches of texts of similar length, which need little padding, and their dropout masks.

The order of an epoch depends on the lengths, the global batch size and (seed, epoch); the number of
ranks only decides how each global batch is sharded, as in `hvdcore.sharding`. Dropout depends on
(seed, epoch, sample) alone. The masks are drawn here and are inputs of the model, because a layer
that drew them would draw others on another number of ranks. All words of a text share one mask of
their vectors ("variational" or spatial dropout; Gal & Ghahramani 2016).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hvdcore.sharding import Indices, epoch_order, seeded_order
from news_cls.data.tokens import UNKNOWN

__all__ = [
    "Mask",
    "bucketed_order",
    "drop_words",
    "dropout_mask",
    "padded_length",
    "uniforms",
]

Mask = npt.NDArray[np.float32]

_ORDER_STREAM = 3
"""Separates the order of the batches from other orders of the same seed."""
_DROPOUT_STREAM = 5
"""Separates these random numbers from others of the same seed."""
CHUNK_BATCHES = 50
"""Global batches that are sorted by length together."""


def bucketed_order(
    lengths: Indices, global_batch_size: int, seed: int, epoch: int, chunk: int = CHUNK_BATCHES
) -> Indices:
    """The order in which an epoch visits its samples, with similar lengths in each global batch.

    Samples are shuffled and sorted by length within chunks of `chunk` global batches, and then the
    batches are shuffled. The samples of an incomplete last batch come last; they are chosen before
    sorting, so that a dropped tail does not leave out some lengths more often than others.

    Args:
        lengths: tokens of each sample, int64 [n].
        chunk: a larger one needs less padding, and mixes long and short texts less.

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
    batches = batches[seeded_order(num_full, seed, _ORDER_STREAM, epoch)]
    tail = tail[np.argsort(lengths[tail], kind="stable")]
    return np.concatenate([batches.ravel(), tail])


def padded_length(lengths: Indices, multiple: int = 8) -> int:
    """The length that a batch is padded to: its longest text, rounded up to `multiple`.

    Args:
        lengths: of the samples of one batch.
        multiple: fewer different lengths mean fewer graphs to compile.
    """
    longest = int(np.max(lengths, initial=1))
    return -(-longest // multiple) * multiple


def uniforms(seed: int, epoch: int, samples: npt.NDArray[np.int64], count: int) -> Mask:
    """Uniform numbers in [0, 1) in steps of 1/65536, float32 [n, count]: one row per sample.

    Raw Philox output, which NumPy guarantees not to change: four numbers from each 64 bits.
    """
    found = np.empty((len(samples), count), dtype=np.float32)
    num_words = -(-count // 4)
    for row, sample in enumerate(samples):
        bits = np.random.Philox(
            key=[seed, (_DROPOUT_STREAM << 32) + epoch], counter=[0, 0, 0, int(sample)]
        )
        raw = bits.random_raw(num_words).astype("<u8", copy=False).view("<u2")
        found[row] = raw[:count]
    return found / np.float32(65536.0)


def dropout_mask(draws: Mask, probability: float) -> Mask:
    """0 with this probability, else 1 / (1 - probability), so that the mean is 1."""
    return np.where(draws < probability, 0.0, 1.0 / (1.0 - probability)).astype(np.float32)


def drop_words(
    ids: npt.NDArray[np.int32], draws: Mask, probability: float
) -> npt.NDArray[np.int32]:
    """The ids with some words replaced by unknown; padding is kept.

    Args:
        ids: int32 [n, T].
        draws: [n, T or more].
    """
    dropped = (draws[:, : ids.shape[1]] < probability) & (ids > 0)
    return np.where(dropped, np.int32(UNKNOWN), ids)
