"""What a train text loses in an epoch: by (seed, epoch, sample) alone, whichever rank reads it.

The masks are drawn here and go into the model as inputs, because a layer that drew them would draw
others on another number of ranks. A whole text shares one mask of its word vectors ("variational"
or spatial dropout; Gal & Ghahramani 2016).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from news_cls.data.vocabulary import UNKNOWN

__all__ = ["Mask", "drop_words", "kept", "uniforms"]

Mask = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

_STREAM = 5
"""Tells these random numbers from those of other uses of the seed."""


def uniforms(seed: int, epoch: int, samples: npt.NDArray[np.int64], count: int) -> Mask:
    """Uniform numbers in [0, 1) in steps of 1/65536, float32 [n, count]: a row for each sample.

    Raw Philox output, which numpy promises not to change: four numbers out of each 64 bits.
    """
    found = np.empty((len(samples), count), dtype=np.float32)
    words = -(-count // 4)
    for row, sample in enumerate(samples):
        bits = np.random.Philox(key=[seed, (_STREAM << 32) + epoch], counter=[0, 0, 0, int(sample)])
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
