"""Owns which documents, or which stretch of a document, are train, val and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from hvdcore.errors import Problems

__all__ = ["PARTS", "Split", "check_fractions", "cut_points", "split_documents"]

PARTS = ("train", "test", "val")
"""In the order in which a document cut by position is cut."""

_TOLERANCE = 0.5
"""How far, as a part of its fraction, a part's size may be off before hashing is given up."""


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
    train: tuple[int, ...]
    test: tuple[int, ...]
    val: tuple[int, ...]

    def part(self, name: str) -> tuple[int, ...]:
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
    digests: Sequence[bytes],
    sizes: Sequence[int],
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int = 0,
) -> Split:
    """Give every document to one part by its content, whatever its name or place in the list.

    Each document draws a number in [0, 1) from SHA-256 of (seed, its digest): adding documents
    never moves another one. With few documents that leaves parts empty or far from their
    fraction; they are then filled by size (`_by_size`), at least one document each. With fewer
    documents than parts, each document is cut by position.

    Args:
        digests: content hash of each document; no two equal.
        sizes: bytes of each document.
    """
    check_fractions(val_fraction, test_fraction)
    fractions = {"test": test_fraction, "val": val_fraction}
    wanted = {name: fraction for name, fraction in fractions.items() if fraction > 0}
    everything = tuple(range(len(digests)))
    if len(digests) <= len(wanted):
        held_out = {name: everything if name in wanted else () for name in fractions}
        return Split("position", everything, held_out["test"], held_out["val"])
    draws = [_draw(digest, seed) for digest in digests]
    chosen = _by_hash(draws, fractions)
    method = "hash"
    if not _close_enough(chosen, sizes, wanted):
        chosen, method = _by_size(draws, sizes, wanted), "size"
    test, val = (tuple(sorted(chosen.get(name, ()))) for name in ("test", "val"))
    taken = {*test, *val}
    return Split(method, tuple(i for i in everything if i not in taken), test, val)


def cut_points(text: bytes, val_fraction: float, test_fraction: float) -> tuple[int, int]:
    """Where train ends and where test ends in one document (bytes); val is the rest.

    A cut that would fall inside a UTF-8 character moves back to its start. With ASCII text and
    no test part this is nanoGPT's `data[:int(n * 0.9)]`.
    """
    size = len(text)
    ends = (int(size * (1 - val_fraction - test_fraction)), int(size * (1 - val_fraction)))
    first, second = (_character_start(text, end) for end in ends)
    return (first, second if test_fraction > 0 else first)


def _character_start(text: bytes, place: int) -> int:
    while 0 < place < len(text) and text[place] & 0xC0 == 0x80:  # a UTF-8 continuation byte
        place -= 1
    return place


def _draw(digest: bytes, seed: int) -> float:
    mixed = hashlib.sha256(b"textgen split %d " % seed + digest).digest()
    return int.from_bytes(mixed[:8], "big") / 2**64


def _by_hash(draws: Sequence[float], fractions: dict[str, float]) -> dict[str, list[int]]:
    chosen: dict[str, list[int]] = {name: [] for name in fractions}
    for number, draw in enumerate(draws):
        if draw < fractions["test"]:
            chosen["test"].append(number)
        elif draw < fractions["test"] + fractions["val"]:
            chosen["val"].append(number)
    return chosen


def _close_enough(
    chosen: dict[str, list[int]], sizes: Sequence[int], wanted: dict[str, float]
) -> bool:
    total = sum(sizes)
    shares = {name: sum(sizes[i] for i in chosen[name]) / total for name in wanted}
    return all(
        chosen[name] and abs(shares[name] - fraction) <= _TOLERANCE * fraction
        for name, fraction in wanted.items()
    ) and sum(map(len, chosen.values())) < len(sizes)


def _by_size(
    draws: Sequence[float], sizes: Sequence[int], wanted: dict[str, float]
) -> dict[str, list[int]]:
    """Fill each part with the documents that fit, in the order of their draws.

    A part that nothing fits into gets the smallest document left, so no part is empty.
    """
    order = sorted(range(len(sizes)), key=lambda number: draws[number])
    total = sum(sizes)
    chosen: dict[str, list[int]] = {}
    for number_of_part, (name, fraction) in enumerate(wanted.items()):
        parts_after = len(wanted) - number_of_part  # train among them: each needs a document
        room = fraction * total
        chosen[name] = []
        for number in order:
            left = len(order) - len(chosen[name])
            if sizes[number] <= room and left > parts_after:
                chosen[name].append(number)
                room -= sizes[number]
        chosen[name] = chosen[name] or [min(order, key=lambda number: sizes[number])]
        order = [number for number in order if number not in set(chosen[name])]
    return chosen
