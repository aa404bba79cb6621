"""Owns what a document is, and what is left out: text that is none, rows without text.

A document is text as it stands in its source, with two things made uniform: a leading byte order
mark is dropped and CRLF becomes LF. Nothing else is touched. It is read in blocks, so that its
length needs no memory.

Owns the units that reading is shared out and gone on by: pieces of the source, of some size.

Units depend on the source alone, not on the number of processes, so that what one process has
read serves all others, and the next run after a kill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hvdcore.errors import UserError

__all__ = [
    "BLOCK_BYTES",
    "UNIT_BYTES",
    "Document",
    "Piece",
    "Progress",
    "Skipped",
    "Unit",
    "blocks_of",
    "group_pieces",
    "missing_column",
    "normalised",
    "row_document",
    "unit_from_json",
    "unit_to_json",
]

BLOCK_BYTES = 1 << 18

_EXAMPLES = 5
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total); units are bytes of text; total 0 when unknown."""


@dataclass(frozen=True)
class Document:
    """One document, that may still turn out to be no text.

    Attributes:
        raw: its bytes as they come from the source, in pieces of any size; iterated once.
        origin: where it came from, for messages.
        bits: information in the choices that generated it, where that is known.
    """

    raw: Iterable[bytes]
    origin: str
    bits: float | None = None


@dataclass
class Skipped:
    """What was left out, by reason, with the first few names."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, origin: str) -> None:
        """Count one document left out."""
        self.merge({reason: 1}, {reason: [origin]})

    def merge(self, counts: dict[str, int], examples: dict[str, list[str]]) -> None:
        """Add what was left out elsewhere, after what is here."""
        self.counts.update(counts)
        for reason, origins in examples.items():
            names = self.examples.setdefault(reason, [])
            names += origins[: _EXAMPLES - len(names)]


def normalised(raw: Iterable[bytes]) -> Iterator[bytes]:
    """Drop a leading byte order mark, make CRLF into LF; the pieces come out in other sizes."""
    held = b""
    at_start = True
    for piece in raw:
        piece = held + piece
        if at_start:
            if len(piece) < len(_BYTE_ORDER_MARK):
                held = piece
                continue
            piece, at_start = piece.removeprefix(_BYTE_ORDER_MARK), False
        held = piece[-1:] if piece.endswith(b"\r") else b""  # its LF may be in the next piece
        yield piece[: len(piece) - len(held)].replace(b"\r\n", b"\n")
    yield held


def blocks_of(pieces: Iterable[bytes], size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The same bytes in blocks of `size`; the last may be shorter."""
    rest = b""
    for piece in pieces:
        view = memoryview(piece)
        if rest:
            missing = size - len(rest)
            rest, view = rest + view[:missing], view[missing:]
            if len(rest) < size:
                continue
            yield rest
        whole = len(view) // size * size
        for start in range(0, whole, size):
            yield bytes(view[start : start + size])
        rest = bytes(view[whole:])
    if rest:
        yield rest


def row_document(value: object, origin: str, column: str, skipped: Skipped) -> Iterator[Document]:
    """The document in one row's column, or none when it is counted in `skipped`.

    Raises:
        UserError: the column holds something other than text.
    """
    if value is None:
        skipped.add("empty", origin)
    elif not isinstance(value, str):
        raise UserError(
            f"data: {origin}: column {column!r} holds {type(value).__name__}, not text; "
            "name another with --text-column"
        )
    else:
        # A lone surrogate, which JSON can spell, has no UTF-8 form: kept as bytes that fail later.
        yield Document((value.encode("utf-8", "surrogatepass"),), origin)


def missing_column(origin: str, column: str, names: Sequence[str]) -> UserError:
    """The error for data without the text column: it lists the columns that are there."""
    listed = ", ".join(names) if names else "none"
    return UserError(
        f"data: {origin}: no column {column!r}; it has {listed}: name one with --text-column"
    )


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
