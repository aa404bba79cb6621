"""Owns the units that reading is shared out and gone on by: pieces of the source, of some size.

Units depend on the source alone, not on the number of processes, so that what one process has
read serves all others, and the next run after a kill.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["UNIT_BYTES", "Piece", "Unit", "group_pieces", "unit_from_json", "unit_to_json"]

UNIT_BYTES = 32 << 20
"""A unit is closed when it holds as much: what a kill can cost each process."""


@dataclass(frozen=True)
class Piece:
    """A part of a source that can be read by itself.

    Attributes:
        name: a file's path, or what else the source calls it.
        start, stop: what of it: bytes of JSON Lines, row groups, record batches, shards, stories.
        number: of the first line or row, from 1, for messages.
        size: bytes of text, about, for progress and for the size of units; 0 when unknown.
    """

    name: str
    start: int
    stop: int
    number: int
    size: int


Unit = tuple[Piece, ...]


def group_pieces(pieces: Iterable[Piece]) -> list[Unit]:
    """Neighbours put together until they hold UNIT_BYTES."""
    units: list[Unit] = []
    held: list[Piece] = []
    for piece in pieces:
        held.append(piece)
        if sum_of_sizes(held) >= UNIT_BYTES or len(held) >= _MOST_PIECES:
            units.append(tuple(held))
            held = []
    return [*units, tuple(held)] if held else units


_MOST_PIECES = 1000  # files so small that opening them is the work


def sum_of_sizes(unit: Iterable[Piece]) -> int:
    """Bytes of text in a unit, about."""
    return sum(piece.size for piece in unit)


def unit_to_json(unit: Unit) -> list[dict[str, Any]]:
    """The unit in JSON's types."""
    return [asdict(piece) for piece in unit]


def unit_from_json(value: list[dict[str, Any]]) -> Unit:
    """The reverse of `unit_to_json`."""
    return tuple(Piece(**piece) for piece in value)
