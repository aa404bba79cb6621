"""Batches of texts of like length, so that little is spent on padding.

The order of an epoch comes from the lengths, the global batch and (seed, epoch). The number of
ranks only decides how each global batch is cut, as in `hvdcore.sharding`.

What a train text loses in an epoch: by (seed, epoch, sample) alone, whichever rank reads it.

The masks are drawn here and go into the model as inputs, because a layer that drew them would draw
others on another number of ranks. A whole text shares one mask of its word vectors ("variational"
or spatial dropout; Gal & Ghahramani 2016).
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
    "kept",
    "padded_length",
    "padding_share",
    "uniforms",
]

_ORDER_STREAM = 3
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
    batches = batches[seeded_order(num_full, seed, _ORDER_STREAM, epoch)]
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


Mask = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

_DROPOUT_STREAM = 5
"""Tells these random numbers from those of other uses of the seed."""


def uniforms(seed: int, epoch: int, samples: npt.NDArray[np.int64], count: int) -> Mask:
    """Uniform numbers in [0, 1) in steps of 1/65536, float32 [n, count]: a row for each sample.

    Raw Philox output, which numpy promises not to change: four numbers out of each 64 bits.
    """
    found = np.empty((len(samples), count), dtype=np.float32)
    words = -(-count // 4)
    for row, sample in enumerate(samples):
        bits = np.random.Philox(
            key=[seed, (_DROPOUT_STREAM << 32) + epoch], counter=[0, 0, 0, int(sample)]
        )
        raw = bits.random_raw(words).astype("<u8", copy=False).view("<u2")
        found[row] = raw[:count]
    return found / np.float32(65536.0)


def kept(draws: Mask, probability: float) -> Mask:
    """0 with this probability, else 1 / (1 - probability), so that the mean stays."""
    return np.where(draws < probability, 0.0, 1.0 / (1.0 - probability)).astype(np.float32)


def drop_words(
    ids: npt.NDArray[np.int32], draws: Mask, probability: float
) -> npt.NDArray[np.int32]:
    """The ids with some words made unknown; padding stays.

    Args:
        ids: int32 [n, T].
        draws: [n, T or more].
    """
    dropped = (draws[:, : ids.shape[1]] < probability) & (ids > 0)
    return np.where(dropped, np.int32(UNKNOWN), ids)
