"""Owns which documents, or which stretch of a document, are train, val and test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvdcore.errors import Problems

__all__ = ["PARTS", "Split", "check_fractions", "cut_points", "split_documents"]

PARTS = ("train", "test", "val")
"""In the order in which a document cut by position is cut."""

_TOLERANCE = 0.5
"""How far, as a part of its fraction, a part's size may be off before hashing is given up."""


Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Which documents (numbers into the list given) each part holds.

    Attributes:
        method: "hash" (each document by its own content), "size" (few documents: filled up by
            size, in the order of their hashes) or "position" (each document is cut).
        train, test, val: document numbers in increasing order. With "position" every part lists
            every document, and `cut_points` says where.
    """

    method: str
    train: Numbers
    test: Numbers
    val: Numbers

    def part(self, name: str) -> Numbers:
        """Document numbers of the part `name`."""
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
) -> Split:
    """Give every document to one part by its content, whatever its name or place in the list.

    Each document draws a number in [0, 1) from SHA-256 of (seed, its digest): adding documents
    never moves another one. With few documents that leaves parts empty or far from their
    fraction; they are then filled by size (`_by_size`), at least one document each. With fewer
    documents than parts, each document is cut by position.

    A group of near-duplicates goes where its first document goes, and counts as one document in
    all of this: none of it may be learned in train and asked for in test.

    Args:
        digests: content hash of each document; no two equal.
        sizes: bytes of each document.
        groups: number of the first document of each one's group; None: each is alone.
    """
    check_fractions(val_fraction, test_fraction)
    fractions = {"test": test_fraction, "val": val_fraction}
    wanted = {name: fraction for name, fraction in fractions.items() if fraction > 0}
    everything = np.arange(len(digests), dtype=np.int64)
    firsts, group_of = np.unique(everything if groups is None else groups, return_inverse=True)
    nothing = everything[:0]
    if len(firsts) <= len(wanted):
        held_out = {name: everything if name in wanted else nothing for name in fractions}
        return Split("position", everything, held_out["test"], held_out["val"])
    group_sizes = np.bincount(group_of, weights=sizes).astype(np.int64)
    draws = np.array([_draw(bytes(digests[first]), seed) for first in firsts])
    part_of, method = _by_hash(draws, test_fraction, val_fraction), "hash"
    if not _close_enough(part_of, group_sizes, wanted):
        part_of, method = _by_size(draws, group_sizes, wanted), "size"
    parts = part_of[group_of]
    return Split(method, *(everything[parts == number] for number in range(len(PARTS))))


def cut_points(
    size: int, read: Callable[[int, int], bytes], val_fraction: float, test_fraction: float
) -> tuple[int, int]:
    """Where train ends and where test ends in one document (bytes); val is the rest.

    A cut that would fall inside a UTF-8 character moves back to its start. With ASCII text and
    no test part this is nanoGPT's `data[:int(n * 0.9)]`.

    Args:
        size: bytes of the document.
        read: its bytes from a place to another.
    """
    ends = (int(size * (1 - val_fraction - test_fraction)), int(size * (1 - val_fraction)))
    first, second = (_character_start(read, end) for end in ends)
    return (first, second if test_fraction > 0 else first)


def _character_start(read: Callable[[int, int], bytes], place: int) -> int:
    while place > 0 and read(place, place + 1)[:1] in _CONTINUATION_BYTES:
        place -= 1
    return place


_CONTINUATION_BYTES = frozenset(bytes([code]) for code in range(0x80, 0xC0))


def _draw(digest: bytes, seed: int) -> float:
    mixed = hashlib.sha256(b"textgen split %d " % seed + digest).digest()
    return int.from_bytes(mixed[:8], "big") / 2**64


def _by_hash(draws: npt.NDArray[np.float64], test: float, val: float) -> npt.NDArray[np.int8]:
    """The part of each draw, as a number in PARTS."""
    numbers = [PARTS.index(name) for name in ("test", "val", "train")]
    return np.array(numbers, dtype=np.int8)[np.searchsorted([test, test + val], draws, "right")]


def _close_enough(part_of: npt.NDArray[np.int8], sizes: Numbers, wanted: dict[str, float]) -> bool:
    held = np.bincount(part_of, weights=sizes, minlength=len(PARTS)) / sizes.sum()
    shares = {name: float(held[PARTS.index(name)]) for name in wanted}
    return held[PARTS.index("train")] > 0 and all(
        shares[name] > 0 and abs(shares[name] - fraction) <= _TOLERANCE * fraction
        for name, fraction in wanted.items()
    )


def _by_size(
    draws: npt.NDArray[np.float64], sizes: Numbers, wanted: dict[str, float]
) -> npt.NDArray[np.int8]:
    """Fill each part with the documents that fit, in the order of their draws.

    A part that nothing fits into gets the smallest document left, so no part is empty.
    """
    order = np.argsort(draws, kind="stable").tolist()
    total = int(sizes.sum())
    part_of = np.full(len(draws), PARTS.index("train"), dtype=np.int8)
    for number_of_part, (name, fraction) in enumerate(wanted.items()):
        parts_after = len(wanted) - number_of_part  # train among them: each needs a document
        room = fraction * total
        chosen: set[int] = set()
        for number in order:
            if sizes[number] <= room and len(order) - len(chosen) > parts_after:
                chosen.add(number)
                room -= sizes[number]
        chosen = chosen or {min(order, key=lambda number: int(sizes[number]))}
        part_of[list(chosen)] = PARTS.index(name)
        order = [number for number in order if number not in chosen]
    return part_of
