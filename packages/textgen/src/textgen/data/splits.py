"""Splitting: which documents, or which part of a document, are train, val and test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvdcore.errors import Problems

__all__ = ["SPLITS", "SplitIndices", "check_fractions", "cut_points", "split_documents"]

SPLITS = ("train", "test", "val")
"""In the order in which a document that is cut by position is divided."""

_TOLERANCE = 0.5
"""Relative deviation of a split's size from its fraction above which hashing is given up."""


_CONTINUATION_BYTES = frozenset(bytes([code]) for code in range(0x80, 0xC0))

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitIndices:
    """The documents of each split, as numbers into a list.

    Attributes:
        method: "hash" (each document by its content), "size" (few documents: splits are filled by
            size, in the order of the hashes) or "position" (each document is cut).
        train, test, val: document numbers in increasing order. With "position" every split lists
            every document, and `cut_points` says where it is cut.
    """

    method: str
    train: Numbers
    test: Numbers
    val: Numbers

    def of(self, name: str) -> Numbers:
        """Document numbers of one split."""
        return {"train": self.train, "test": self.test, "val": self.val}[name]


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Raise UserError unless both are in [0, 1) and leave something to train on."""
    problems = Problems()
    for field, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            problems.add(field, f"got {value}; give 0 or more and less than 1")
    if not problems and val_fraction + test_fraction >= 1:
        problems.add(
            "val_fraction, test_fraction",
            f"together {val_fraction + test_fraction:g} leave nothing to train on; lower one",
        )
    problems.raise_if_any()


def split_documents(
    digests: Sequence[bytes] | npt.NDArray[np.uint8],
    sizes: Sequence[int] | Numbers,
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int = 0,
    groups: Numbers | None = None,
) -> SplitIndices:
    """Assign every document to a split by its content, whatever its name or position in the list.

    Each document draws a number in [0, 1) from SHA-256 of (seed, its digest): adding documents
    never moves another one. With few documents that leaves splits empty or far from their
    fraction; they are then filled by size (`_by_size`), at least one document each. With fewer
    documents than splits, each document is cut by position.

    A group of near-duplicates goes where its first document goes and counts as one document, so
    that no text of train has a near-duplicate in val or test.

    Args:
        digests: content hash of each document; no two equal.
        sizes: bytes of each document.
        groups: number of the first document of each document's group; None for no groups.
    """
    check_fractions(val_fraction, test_fraction)
    fractions = {"test": test_fraction, "val": val_fraction}
    wanted = {name: fraction for name, fraction in fractions.items() if fraction > 0}
    everything = np.arange(len(digests), dtype=np.int64)
    firsts, group_of = np.unique(everything if groups is None else groups, return_inverse=True)
    nothing = everything[:0]
    if len(firsts) <= len(wanted):
        held_out = {name: everything if name in wanted else nothing for name in fractions}
        return SplitIndices("position", everything, held_out["test"], held_out["val"])
    group_sizes = np.bincount(group_of, weights=sizes).astype(np.int64)
    draws = np.array([_draw(bytes(digests[first]), seed) for first in firsts])
    split_of, method = _by_hash(draws, test_fraction, val_fraction), "hash"
    if not _is_close(split_of, group_sizes, wanted):
        split_of, method = _by_size(draws, group_sizes, wanted), "size"
    splits = split_of[group_of]
    return SplitIndices(method, *(everything[splits == number] for number in range(len(SPLITS))))


def cut_points(
    size: int, read: Callable[[int, int], bytes], val_fraction: float, test_fraction: float
) -> tuple[int, int]:
    """Where train ends and where test ends in one document (bytes); val is the rest.

    A cut inside a UTF-8 character moves back to its start. With ASCII text and no test
    split this is nanoGPT's `data[:int(n * 0.9)]`.

    Args:
        size: bytes of the document.
        read: its bytes [start, stop).
    """
    ends = (int(size * (1 - val_fraction - test_fraction)), int(size * (1 - val_fraction)))
    first, second = (_character_start(read, end) for end in ends)
    return (first, second if test_fraction > 0 else first)


def _character_start(read: Callable[[int, int], bytes], position: int) -> int:
    while position > 0 and read(position, position + 1)[:1] in _CONTINUATION_BYTES:
        position -= 1
    return position


def _draw(digest: bytes, seed: int) -> float:
    mixed = hashlib.sha256(b"textgen split %d " % seed + digest).digest()
    return int.from_bytes(mixed[:8], "big") / 2**64


def _by_hash(draws: npt.NDArray[np.float64], test: float, val: float) -> npt.NDArray[np.int8]:
    """The split of each draw, as an index into SPLITS."""
    numbers = [SPLITS.index(name) for name in ("test", "val", "train")]
    return np.array(numbers, dtype=np.int8)[np.searchsorted([test, test + val], draws, "right")]


def _is_close(split_of: npt.NDArray[np.int8], sizes: Numbers, wanted: dict[str, float]) -> bool:
    held = np.bincount(split_of, weights=sizes, minlength=len(SPLITS)) / sizes.sum()
    shares = {name: float(held[SPLITS.index(name)]) for name in wanted}
    return held[SPLITS.index("train")] > 0 and all(
        shares[name] > 0 and abs(shares[name] - fraction) <= _TOLERANCE * fraction
        for name, fraction in wanted.items()
    )


def _by_size(
    draws: npt.NDArray[np.float64], sizes: Numbers, wanted: dict[str, float]
) -> npt.NDArray[np.int8]:
    """Fill each split with the documents that fit, in the order of their draws.

    A split that no document fits gets the smallest remaining one, so that none is empty.
    """
    order = np.argsort(draws, kind="stable").tolist()
    total = int(sizes.sum())
    split_of = np.full(len(draws), SPLITS.index("train"), dtype=np.int8)
    for index, (name, fraction) in enumerate(wanted.items()):
        splits_after = len(wanted) - index  # with train: each needs a document
        room = fraction * total
        chosen: set[int] = set()
        for number in order:
            if sizes[number] <= room and len(order) - len(chosen) > splits_after:
                chosen.add(number)
                room -= sizes[number]
        chosen = chosen or {min(order, key=lambda number: int(sizes[number]))}
        split_of[list(chosen)] = SPLITS.index(name)
        order = [number for number in order if number not in chosen]
    return split_of
