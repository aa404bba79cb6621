"""Owns the order in which samples are visited: pinned to raw random streams, stable for good."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Indices", "epoch_order", "seeded_order"]

Indices = npt.NDArray[np.int64]


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
