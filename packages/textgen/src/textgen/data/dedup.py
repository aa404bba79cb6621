"""Owns finding the documents that are nearly the same, by locality-sensitive hashing.

Documents that agree in one band of their sketches are compared; those whose sketches agree in the
threshold's share of entries are joined, and what is joined to the same is one group. One band is in
memory at a time: some 50 bytes for each document, and no pair of unlike ones is ever listed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["find_groups"]

Numbers = npt.NDArray[np.int64]

_PAIRS_AT_ONCE = 1 << 14  # 16 MB of sketches


def find_groups(
    count: int,
    bands: int,
    band: Callable[[int], npt.NDArray[np.uint64]],
    sketches: Callable[[Numbers], npt.NDArray[np.uint32]],
    threshold: float,
) -> Numbers:
    """The group of each document, [count]: the lowest number in it; most are their own.

    Args:
        band: hashes of one band, [count]; 0 for a document that is like no other.
        sketches: of the documents given, [given, entries].
        threshold: least share of equal entries, in (0, 1].
    """
    groups = np.arange(count, dtype=np.int64)
    for number in range(bands):
        pairs = _pairs(band(number))
        pairs = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]]
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            first, second = pairs[start : start + _PAIRS_AT_ONCE].T
            alike = (sketches(first) == sketches(second)).mean(axis=1) >= threshold
            for a, b in zip(first[alike].tolist(), second[alike].tolist(), strict=True):
                _join(groups, a, b)
        groups = _flattened(groups)
    return groups


def _pairs(hashes: npt.NDArray[np.uint64]) -> Numbers:
    """Each document with the previous one in its bucket and with the bucket's first, [pairs, 2]."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    same = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
    if not same.any():
        return np.empty((0, 2), dtype=np.int64)
    place = np.arange(len(order))
    begins = np.r_[True, ~same]
    first = np.maximum.accumulate(np.where(begins, place, 0))
    later = np.flatnonzero(same) + 1
    with_first = np.stack([order[first[later]], order[later]], axis=1)
    with_previous = np.stack([order[later - 1], order[later]], axis=1)
    far = first[later] != later - 1
    return np.concatenate([with_first, with_previous[far]]).astype(np.int64)


def _join(groups: Numbers, a: int, b: int) -> None:
    a, b = _root(groups, a), _root(groups, b)
    groups[max(a, b)] = min(a, b)


def _root(groups: Numbers, number: int) -> int:
    while (above := int(groups[number])) != number:
        groups[number] = groups[above]
        number = above
    return number


def _flattened(groups: Numbers) -> Numbers:
    while True:
        above = groups[groups]
        if (above == groups).all():
            return groups
        groups = above
