"""Near-duplicate documents: MinHash sketches, and locality-sensitive hashing to find the pairs.

A sketch is the MinHash of a document's shingles: runs of five words, in lower case, whatever
stands between them. The share of equal entries in two sketches estimates the Jaccard similarity of
the two sets of shingles, with a standard deviation of at most 0.045. One permutation serves all
entries (Li, Owen and Zhang 2012, One Permutation Hashing); entries that stay empty in short texts
are borrowed from others, in an order drawn for each (Shrivastava 2017, Optimal Densification). It
takes some 20 ns per byte; hashing each shingle for each of 128 permutations, as datasketch 2.0
does, takes longer than tokenizing.

Documents whose sketches agree in one band are compared; if they agree in the threshold's share of
entries they are joined, and joined documents form a group. Only one band is in memory at a time,
some 50 bytes per document, and pairs of unlike documents are never listed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from textgen.data.documents import BLOCK_BYTES

__all__ = [
    "BANDS",
    "SKETCH_SIZE",
    "Sketcher",
    "band_hashes",
    "find_groups",
]

Numbers = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]

_PAIRS_AT_ONCE = 1 << 14  # 16 MB of sketches

SHINGLE_WORDS = 5
SKETCH_SIZE = 128
BANDS = 32
"""Of four entries each: of the pairs of similarity 0.7 one in 6,000 shares no band, of 0.5 one in
8."""

_EMPTY = np.uint32(0xFFFFFFFF)
_draw = np.random.Generator(np.random.PCG64(0x5EED))
_FACTORS = _draw.integers(1, 1 << 63, SHINGLE_WORDS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_BAND_FACTORS = _draw.integers(1, 1 << 63, 4, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_BORROW = np.stack([_draw.permutation(SKETCH_SIZE) for _ in range(SKETCH_SIZE)])

_IN_WORD = np.zeros(256, dtype=bool)
_IN_WORD[[*range(48, 58), *range(65, 91), *range(97, 123), *range(128, 256)]] = True
# Kana, Han and Hangul are written without blanks: every character counts as a word.
_IS_A_WORD = np.zeros(256, dtype=bool)
_IS_A_WORD[0xE3:0xEE] = True
_CODES = _draw.integers(0, 1 << 63, 256, dtype=np.uint64)
_CODES[65:91] = _CODES[97:123]  # capitals
_CODES[~_IN_WORD] = 0
# A word's hash is the sum of its codes times powers of an odd base, modulo 2^64, which prefix sums
# and the base's inverse give for all words at once.
_BASE = 0x9E3779B97F4A7C15
_POWERS = np.cumprod(np.full(BLOCK_BYTES, _BASE, dtype=np.uint64))
_INVERSE_POWERS = np.cumprod(np.full(BLOCK_BYTES, pow(_BASE, -1, 1 << 64), dtype=np.uint64))


def find_groups(
    count: int,
    bands: int,
    band: Callable[[int], npt.NDArray[np.uint64]],
    sketches: Callable[[Numbers], npt.NDArray[np.uint32]],
    threshold: float,
) -> Numbers:
    """The group of each document, [count], named by the lowest number in it.

    Args:
        band: hashes of one band, [count]; 0 for a document that is compared with no other.
        sketches: of the documents given, [given, entries].
        threshold: smallest share of equal entries, in (0, 1].
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
    """Each document with the previous and the first one of its bucket, [pairs, 2]."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    same = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
    if not same.any():
        return np.empty((0, 2), dtype=np.int64)
    positions = np.arange(len(order))
    begins = np.r_[True, ~same]
    first = np.maximum.accumulate(np.where(begins, positions, 0))
    later = np.flatnonzero(same) + 1
    with_first = np.stack([order[first[later]], order[later]], axis=1)
    with_previous = np.stack([order[later - 1], order[later]], axis=1)
    far = first[later] != later - 1
    return np.concatenate([with_first, with_previous[far]]).astype(np.int64)


def _join(groups: Numbers, a: int, b: int) -> None:
    a, b = _root(groups, a), _root(groups, b)
    groups[max(a, b)] = min(a, b)


def _root(groups: Numbers, number: int) -> int:
    while (parent := int(groups[number])) != number:
        groups[number] = groups[parent]
        number = parent
    return number


def _flattened(groups: Numbers) -> Numbers:
    while True:
        parents = groups[groups]
        if (parents == groups).all():
            return groups
        groups = parents


class Sketcher:
    """Builds a sketch from blocks of BLOCK_BYTES; shingles across two blocks are left out."""

    def __init__(self) -> None:
        self._least = np.full(SKETCH_SIZE, _EMPTY, dtype=np.uint32)

    def feed(self, codes: npt.NDArray[np.uint8]) -> None:
        """Add the bytes of the next block, [at most BLOCK_BYTES]."""
        shingles = _mix(_shingles(_word_hashes(codes)))
        entries = (shingles >> np.uint64(57)).astype(np.intp)  # the top 7 bits
        values = (shingles >> np.uint64(20)).astype(np.uint32)
        lower = values < self._least[entries]  # few, after the first block
        np.minimum.at(self._least, entries[lower], values[lower])

    def sketch(self) -> npt.NDArray[np.uint32] | None:
        """The sketch, [SKETCH_SIZE]; None for a text without words."""
        filled = self._least != _EMPTY
        if not filled.any():
            return None
        donors = _BORROW[np.arange(SKETCH_SIZE), filled[_BORROW].argmax(axis=1)]
        return np.where(filled, self._least, self._least[donors])


def band_hashes(sketches: npt.NDArray[np.uint32]) -> UInt64Array:
    """A hash for each band of each sketch.

    Args:
        sketches: [documents, SKETCH_SIZE].

    Returns:
        [BANDS, documents].
    """
    bands = sketches.reshape(len(sketches), BANDS, -1).astype(np.uint64)
    hashes = _mix((bands * _BAND_FACTORS).sum(axis=2, dtype=np.uint64))
    return np.ascontiguousarray(hashes.T)


def _word_hashes(codes: npt.NDArray[np.uint8]) -> UInt64Array:
    in_word = np.zeros(len(codes) + 1, dtype=bool)
    in_word[:-1] = _IN_WORD[codes]
    starts_here = in_word[:-1] & (np.r_[True, ~in_word[:-2]] | _IS_A_WORD[codes])
    starts = np.flatnonzero(starts_here)
    if not len(starts):
        return np.empty(0, dtype=np.uint64)
    sums = np.cumsum(_CODES[codes] * _POWERS[: len(codes)], dtype=np.uint64)
    # What stands between two words adds zero, so a word may be summed up to the next one.
    upto = sums[np.append(starts[1:] - 1, len(codes) - 1)]
    before = np.where(starts > 0, sums[starts - 1], np.uint64(0))
    words: UInt64Array = (upto - before) * _INVERSE_POWERS[starts]
    return _mix(words)


def _shingles(words: UInt64Array) -> UInt64Array:
    """A hash of each five neighbors; of all words where there are fewer."""
    count = len(words) - SHINGLE_WORDS + 1
    if count < 1:
        return (words * _FACTORS[: len(words)]).sum(keepdims=True, dtype=np.uint64)[: len(words)]
    total = np.zeros(count, dtype=np.uint64)
    for offset, factor in enumerate(_FACTORS):
        total += words[offset : offset + count] * factor
    return total


def _mix(values: UInt64Array) -> UInt64Array:
    """The finalizer of SplitMix64: every bit of the input changes about half of the output's."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: UInt64Array = values ^ (values >> np.uint64(31))
    return mixed
